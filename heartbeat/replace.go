package heartbeat

import (
	"fmt"
	"sync"
	"time"
)

// newcomers are the newest instances on each host, by service: one that falls silent while a younger one runs in its
// place was restarted under a new name.
type newcomers struct {
	mu sync.Mutex
	of map[instanceKey]newcomer // guarded by mu; by service and host
}

type newcomer struct {
	instance string
	begun    time.Duration
}

func (n *newcomers) came(service, host, instance string, begun time.Duration, limit int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil || len(n.of) >= limit {
		n.of = map[instanceKey]newcomer{} // what is forgotten costs a "dead" in place of a "restarted"
	}
	n.of[instanceKey{service, host}] = newcomer{instance, begun}
}

// successor takes out the instance that has begun on a host after another was last heard; each succeeds one.
func (n *newcomers) successor(service, host, instance string, heard time.Duration) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := instanceKey{service, host}
	next, found := n.of[key]
	if !found || next.instance == instance || next.begun < heard {
		return "", false
	}
	delete(n.of, key)
	return next.instance, true
}

// succeededLocked says whether a silent instance was restarted under a new name, and then tells of that: it has
// stopped, and nobody has to be woken.
func (m *Monitor) succeededLocked(r *record, now time.Duration) bool {
	beat, err := ParseBeat(r.payload)
	if err != nil || beat.host == "" {
		return false
	}
	next, found := m.newcomers.successor(r.service(), beat.host, r.instance(), r.seen)
	if !found {
		return false
	}
	r.phase, r.state, r.since, r.due = phaseIndex(PhaseStopped), Stopped, now, never
	m.feed.tell(Event{Kind: EventRestarted, Service: r.service(), Instance: next, State: Alive, Why: fmt.Sprintf(
		"took the place of %s, last heard %v ago, on the host %s", r.instance(), (now - r.seen).Round(time.Second/10), beat.host)})
	return true
}
