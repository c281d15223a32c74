package heartbeat

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// newcomers are the newest instances on each host, by service: one that falls silent while a younger one runs in its
// place was restarted under a new name.
type newcomers struct {
	mu   sync.Mutex
	of   map[instanceKey][]newcomer // guarded by mu; by service and host, in the order in which they came
	many int                        // guarded by mu; in all of them
}

type newcomer struct {
	instance string
	begun    time.Duration
	spent    bool // it has succeeded one
}

// maxNewcomers are remembered of one service on one host.
const maxNewcomers = 64

func (n *newcomers) came(service, host, instance string, begun time.Duration, limit int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil || n.many >= limit {
		n.of, n.many = map[instanceKey][]newcomer{}, 0 // what is forgotten costs a "dead" in place of a "restarted"
	}
	key := instanceKey{service, host}
	had := n.of[key]
	all := slices.DeleteFunc(had, func(c newcomer) bool { return c.spent })
	all = append(all[max(len(all)-maxNewcomers+1, 0):], newcomer{instance, begun, false})
	n.many += len(all) - len(had)
	n.of[key] = all
}

// successor returns the newest instance on a host if one has begun there after another was last heard. Each succeeds
// one, and of those that may the one that came first: a host that restarts ten of them in a row has ten successors.
func (n *newcomers) successor(service, host, instance string, heard time.Duration) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.of[instanceKey{service, host}]
	for i, c := range all {
		if !c.spent && c.instance != instance && c.begun >= heard {
			all[i].spent = true
			return all[len(all)-1].instance, true
		}
	}
	return "", false
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
