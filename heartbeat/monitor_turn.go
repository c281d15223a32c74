package heartbeat

import (
	"fmt"
	"time"
)

// turnLocked brings an instance to a state and tells of it, unless it is there already.
func (m *Monitor) turnLocked(r *record, state State, now time.Duration, limits Thresholds, note string) {
	was := r.state
	if state == was {
		return
	}
	if state == Dead {
		m.pass(&r.history, now, asDown)
	}
	r.state, r.since = state, now
	kind := turnKind(was, state)
	why := why(state, now-r.seen, limits) + note
	if kind == EventStarted {
		why = "seen for the first time: " + why
	}
	if m.dampLocked(r, kind, now) {
		return
	}
	m.tellLocked(r, kind, why)
}

func turnKind(was, state State) EventKind {
	switch {
	case state == Stale:
		return EventStale
	case state == Dead:
		return EventDead
	case state == Stuck:
		return EventStuck
	case state == Stopped:
		return EventStopped
	case was == Unknown:
		return EventStarted
	case was == Stale:
		return EventAlive
	default:
		return EventRecovered
	}
}

func (m *Monitor) tellLocked(r *record, kind EventKind, why string) {
	m.feed.tell(Event{Kind: kind, Service: r.service(), Instance: r.instance(), State: r.state, Why: why})
}

// dampLocked counts the changes of an instance and says whether this one is not to be told: one that comes and goes
// all the time is told of once, and again when it has settled; its death is told as well, once in the time that settling
// takes. The view shows every change all the same.
func (m *Monitor) dampLocked(r *record, kind EventKind, now time.Duration) bool {
	if m.cfg.Flapping < 0 || kind == EventStarted {
		return false
	}
	if now-r.calmFrom > r.calmTime() {
		r.calmFrom, r.turns = now, 0
	}
	r.turns++
	if !r.flapping && r.turns > uint32(m.cfg.Flapping) {
		r.flapping = true
		m.tellLocked(r, EventFlapping, fmt.Sprintf("%d changes within %v, now %v: told again when it has settled",
			r.turns, (now-r.calmFrom).Round(time.Second), r.state))
	}
	if kind == EventDead && r.flapping && (r.mourned == 0 || now-r.mourned >= r.calmTime()) {
		r.mourned = now
		return false
	}
	return r.flapping
}

// calmTime is how long an instance has to stay as it is to count as settled.
func (r *record) calmTime() time.Duration { return 10 * orDefault(r.interval, baseInterval) }

func (r *record) calmAt() time.Duration { return r.since + r.calmTime() }

// calmLocked ends the flapping of an instance that has not changed for a while.
func (m *Monitor) calmLocked(r *record, now time.Duration) {
	if !r.flapping || now < r.calmAt() {
		return
	}
	r.flapping, r.turns, r.calmFrom = false, 0, now
	m.tellLocked(r, EventSettled, fmt.Sprintf("%v for %v", r.state, (now-r.since).Round(time.Second)))
}

// why explains a state in one line for people.
func why(state State, age time.Duration, limits Thresholds) string {
	age = max(age, 0).Round(time.Second / 10)
	switch state {
	case Stopped:
		return fmt.Sprintf("said goodbye %v ago", age)
	case Stuck:
		return fmt.Sprintf("last beat %v ago, and it says that its work is stuck", age)
	case Stale:
		return fmt.Sprintf("last beat %v ago: stale from %v, dead from %v", age, limits.Stale, limits.Dead)
	case Dead:
		return fmt.Sprintf("last beat %v ago: dead from %v", age, limits.Dead)
	case Unknown:
		return fmt.Sprintf("last beat %v ago, and nothing is known since", age)
	default:
		return fmt.Sprintf("last beat %v ago: stale from %v", age, limits.Stale)
	}
}
