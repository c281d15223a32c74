package heartbeat

import (
	"fmt"
	"time"
)

// record is what a Monitor keeps of one instance.
type record struct {
	beat   *Beat     // the newest; never changed
	seen   time.Time // when it entered the broker, on the local monotonic clock
	missed uint64
	before string // the Run that came before that of beat
}

// update takes in a beat of the same instance and says whether it was news.
func (r *record) update(b *Beat, seen time.Time) bool {
	last, restarted := r.beat.Count, r.restarted(b, seen)
	switch {
	case restarted:
		last, r.before = 0, r.beat.Run
	case b.Run != r.beat.Run && b.Run != "" && b.Run == r.before:
		return false // an old life of this name
	case b.Count != 0 && b.Count <= last:
		return false
	}
	if b.Count > last+1 && (last > 0 || restarted) {
		r.missed += b.Count - last - 1
	}
	r.beat = b
	if seen.After(r.seen) {
		r.seen = seen
	}
	return true
}

// restarted says whether b comes from a new life of the instance, whose count has begun anew. Where both beats name
// their run that settles it. Else a smaller count is either an old beat or a restart: it is a restart when the
// sender's uptime puts its begin after the moment when the instance was last heard. That moment is known only as well
// as messages are fast, so one interval of grace goes to the restart: an instance that is taken for its own past
// would be declared dead while it beats.
func (r *record) restarted(b *Beat, seen time.Time) bool {
	if b.Run != "" && r.beat.Run != "" {
		return b.Run != r.beat.Run && b.Run != r.before
	}
	if b.Count == 0 || b.Count > r.beat.Count {
		return false
	}
	grace := orDefault(b.Interval, baseInterval)
	return seen.Add(-b.Uptime).After(r.seen.Add(-grace))
}

// judge returns what is to be said of the instance now.
func (r *record) judge(t Thresholds, now time.Time) Instance {
	age := max(now.Sub(r.seen), 0)
	limits := t.For(r.beat.Interval, r.beat.TickLate)
	state := limits.Judge(age)
	switch {
	case r.beat.Phase == PhaseStopped:
		state = Stopped
	case r.beat.Phase == PhaseStuck && state == Alive:
		state = Stuck
	}
	return Instance{
		Service: r.beat.Service, ID: r.beat.Instance,
		State: state, Why: why(state, age, limits), Age: age,
		Uptime: r.beat.Uptime, Count: r.beat.Count, Missed: r.missed, Beat: *r.beat,
	}
}

// goneFor returns for how long the instance has been stopped or dead; negative when it is neither.
func (r *record) goneFor(t Thresholds, now time.Time) time.Duration {
	age := now.Sub(r.seen)
	if r.beat.Phase == PhaseStopped {
		return age
	}
	return age - t.For(r.beat.Interval, r.beat.TickLate).Dead
}

// why explains a state in one line for people.
func why(state State, age time.Duration, limits Thresholds) string {
	age = age.Round(time.Second / 10)
	switch state {
	case Stopped:
		return fmt.Sprintf("said goodbye %v ago", age)
	case Stuck:
		return fmt.Sprintf("last beat %v ago, and it says that its work is stuck", age)
	case Stale:
		return fmt.Sprintf("last beat %v ago: stale from %v, dead from %v", age, limits.Stale, limits.Dead)
	case Dead:
		return fmt.Sprintf("last beat %v ago: dead from %v", age, limits.Dead)
	default:
		return fmt.Sprintf("last beat %v ago: stale from %v", age, limits.Stale)
	}
}
