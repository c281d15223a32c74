package heartbeat

import (
	"slices"
	"sync"
	"time"
)

// roster knows which of the expected services have instances.
type roster struct {
	mu       sync.Mutex
	expected map[string]*attendance // guarded by mu; its keys never change
}

type attendance struct {
	known int           // instances, in whatever state
	since time.Duration // when it was last found to have some, or began to be waited for
	told  bool
}

func newRoster(expect []string) *roster {
	ro := &roster{expected: map[string]*attendance{}}
	for _, service := range expect {
		ro.expected[service] = &attendance{}
	}
	return ro
}

func (ro *roster) came(service string) { ro.count(service, 1) }
func (ro *roster) left(service string) { ro.count(service, -1) }

func (ro *roster) count(service string, by int) {
	a := ro.expected[service]
	if a == nil {
		return
	}
	ro.mu.Lock()
	defer ro.mu.Unlock()
	a.known += by
	a.told = a.told && a.known == 0
}

// absent returns the services that have been waited for since patience ago or longer and were not told before. Time
// before clearSince, when a service could not have been heard, doesn't count.
func (ro *roster) absent(now, clearSince, patience time.Duration) (tell []string) {
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for service, a := range ro.expected {
		switch {
		case a.known > 0:
			a.since = now
		case !a.told && now-max(a.since, clearSince) >= patience:
			a.told = true
			tell = append(tell, service)
		}
	}
	slices.Sort(tell)
	return tell
}

// Missing returns the services of MonitorConfig.Expect of which nothing is known, sorted, as noticed by Run. It does
// not block.
func (m *Monitor) Missing() []string {
	ro := m.roster
	ro.mu.Lock()
	defer ro.mu.Unlock()
	var missing []string
	for service, a := range ro.expected {
		if a.told {
			missing = append(missing, service)
		}
	}
	slices.Sort(missing)
	return missing
}

// restore takes over who is known, and marks services as told of.
func (ro *roster) restore(from *roster, missing []string) {
	for service, a := range from.expected {
		ro.count(service, a.known)
	}
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for _, service := range missing {
		if a := ro.expected[service]; a != nil && a.known == 0 {
			a.told = true
		}
	}
}
