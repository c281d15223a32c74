package heartbeat

import (
	"time"
)

// record is what a Monitor keeps of one instance; there may be a million of them. Times count from the monitor's
// epoch, on the local monotonic clock.
type record struct {
	// What a look at all of them reads stands first, within one line of the processor's cache.
	due             time.Duration // nothing is to be done about it before
	state           State         // the verdict so far
	phase           uint8         // index in phases
	keeps, flapping bool
	heard           bool  // by this monitor, and not merely restored
	at              int32 // place within group

	key     string // see appendKey
	group   *group
	payload []byte // the newest beat, as it came

	seen, since     time.Duration // newest beat; begin of state
	run, before     uint64        // fingerprints of its run and of the one before that
	left            uint64        // the newest count of the run before, as known when it was left; 0 when that is not known
	count, missed   uint64
	uptime          time.Duration
	interval, late  time.Duration
	mourned         time.Duration // when its death was last told while it flapped
	calmFrom        time.Duration // begin of the time in which turns are counted
	turns, restarts uint32

	history history
}

var phases = [...]Phase{"", PhaseRunning, PhaseStuck, PhaseDraining, PhaseStopped}

func phaseIndex(p Phase) uint8 {
	for i, known := range phases {
		if p == known {
			return uint8(i)
		}
	}
	return 0
}

// beat returns the newest one, or as much as is known of it where there was no room for it.
func (r *record) beat() Beat {
	if beat, err := ParseBeat(r.payload); err == nil {
		return beat
	}
	return Beat{
		Service: r.service(), Instance: r.instance(), Uptime: r.uptime, Count: r.count,
		Interval: r.interval, TickLate: r.late, Phase: phases[r.phase],
	}
}

func (r *record) service() string  { return r.group.service }
func (r *record) instance() string { return r.key[len(r.group.service)+1:] }

// appendKey makes one string of the names; no name contains a zero.
func appendKey(to, service, instance []byte) []byte {
	to = append(to, service...)
	to = append(to, 0)
	return append(to, instance...)
}

// news says what a beat of a known instance is.
type news uint8

const (
	oldNews news = iota
	goodNews
	newLife
)

// update takes in a beat of the same instance that entered the broker at seen, and how many were missed before it.
func (r *record) update(c *core, seen time.Duration) (n news, missed uint64) {
	last, restarted := r.count, r.restarted(c, seen)
	switch {
	case restarted:
		last, r.before, r.left = 0, r.run, r.count
		r.restarts++
	case c.run != r.run && c.run != 0 && c.run == r.before:
		if !r.outlived(c, seen) {
			return oldNews, 0 // an old life of this name
		}
		last, r.before, r.left = c.count, r.run, r.count // how many were missed can't be said
	case c.count != 0 && c.count <= last, c.count == 0 && seen < r.seen:
		return oldNews, 0
	}
	if c.count > last+1 && (last > 0 || restarted) {
		missed = c.count - last - 1
	}
	r.take(c)
	r.missed = max(r.missed, r.missed+missed) // it doesn't wrap, whatever is sent
	r.seen = max(r.seen, seen)
	if restarted {
		return newLife, missed
	}
	return goodNews, missed
}

func (r *record) take(c *core) {
	r.run, r.count, r.uptime = c.run, c.count, c.uptime
	r.interval, r.late, r.phase = c.interval, c.late, phaseIndex(c.phase)
	r.keeps, r.heard = r.keeps || c.keeps, true
}

// restarted says whether c comes from a new life of the instance, whose count has begun anew. Where both beats name
// their run that settles it. Else a smaller count is either an old beat or a restart: it is a restart when the
// sender's uptime puts its begin after the moment when the instance was last heard. That moment is known only as well
// as messages are fast, so one interval of grace goes to the restart: an instance that is taken for its own past
// would be declared dead while it beats.
func (r *record) restarted(c *core, seen time.Duration) bool {
	if c.run != 0 && r.run != 0 {
		return c.run != r.run && c.run != r.before
	}
	if c.count == 0 || c.count > r.count {
		return false
	}
	grace := orDefault(c.interval, baseInterval)
	return seen-c.uptime > r.seen-grace
}

// outlived says whether a beat of the life before, seen at that time, takes the name back: two processes had it, and the
// younger has said goodbye or fallen silent. A beat from before it was left is an old one that comes again.
func (r *record) outlived(c *core, seen time.Duration) bool {
	if r.left == 0 || c.count <= r.left {
		return false
	}
	quiet := seen - r.seen
	return quiet > 0 && r.by() == Stopped || quiet > 3*orDefault(r.interval, baseInterval)/2
}

// by returns what the newest beat says by itself, whatever its age: Stopped, Stuck or Alive.
func (r *record) by() State {
	switch phases[r.phase] {
	case PhaseStopped:
		return Stopped
	case PhaseStuck:
		return Stuck
	default:
		return Alive
	}
}

// judge returns the state by the age of the newest beat alone, as if nothing had ever got in the way.
func (r *record) judge(limits Thresholds, now time.Duration) State {
	said := r.by()
	if said == Stopped {
		return said
	}
	if state := limits.Judge(now - r.seen); state != Alive {
		return state
	}
	return said
}

// sighted is what a verdict on silence has to respect: since when everything has been heard.
type sighted struct{ since time.Duration }

// staleAt and deadAt return when silence becomes a verdict. Time before sight was regained doesn't count as silence:
// the broker may have been away for the sender, too. Where the broker keeps the newest beat, it is enough to
// have given the sender the time to beat, for its copy will tell.
func (r *record) staleAt(limits Thresholds, s sighted) time.Duration {
	return max(r.seen, s.since) + limits.Stale
}

func (r *record) deadAt(limits Thresholds, s sighted) time.Duration {
	if r.keeps {
		return max(r.seen+limits.Dead, s.since+limits.Stale)
	}
	return max(r.seen, s.since) + limits.Dead
}

// silence returns the verdict on an instance that is not heard, and when the next is due.
func (r *record) silence(limits Thresholds, s sighted, now time.Duration) (state State, due time.Duration) {
	switch stale, dead := r.staleAt(limits, s), r.deadAt(limits, s); {
	case r.by() == Stopped:
		return Stopped, never
	case r.state == Dead || now >= dead:
		return Dead, never
	case r.state == Stale || now >= stale:
		return Stale, dead
	default:
		return r.by(), stale
	}
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)
