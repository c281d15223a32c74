package heartbeat

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// ErrMonitorFull is returned for a beat of a new instance when as many as the monitor may hold are known.
var ErrMonitorFull = errors.New("heartbeat: the monitor holds as many instances as MonitorConfig.MaxInstances allows")

// MonitorConfig adjusts a [Monitor]. The zero MonitorConfig is valid.
type MonitorConfig struct {
	// Thresholds are those for a sender that beats every 60 seconds. The zero value means 90s and 180s.
	Thresholds Thresholds

	// Forget is how long an instance that has stopped or died stays in view, 1m to 8760h (a year). 0 means 24h.
	// Negative means for ever.
	Forget time.Duration

	// MaxInstances bounds the memory: how many instances are held at most. 0 means 1,000,000.
	MaxInstances int
}

func (c MonitorConfig) complete() (MonitorConfig, error) {
	var p problems
	c.Thresholds = c.Thresholds.orDefault()
	if t := c.Thresholds; t.Stale <= baseInterval || t.Stale >= t.Dead || t.Dead > 24*time.Hour {
		p.addf("MonitorConfig.Thresholds is %v and %v: want 60s < Stale < Dead <= 24h, or 0 for 90s and 180s", t.Stale, t.Dead)
	}
	if c.Forget >= 0 {
		c.Forget = within(&p, "MonitorConfig.Forget", c.Forget, 24*time.Hour, time.Minute, 8760*time.Hour, "24h, or negative for never")
	}
	c.MaxInstances = within(&p, "MonitorConfig.MaxInstances", c.MaxInstances, 1_000_000, 1, 100_000_000, "1000000")
	return c, errors.Join(p...)
}

// Monitor knows the newest beat of every instance that it was shown, and judges by its age. It starts no
// goroutines: whoever receives beats gives them to Observe, and states are worked out when they are asked for. Safe
// for concurrent use.
type Monitor struct {
	cfg MonitorConfig

	mu        sync.Mutex
	instances map[instanceKey]*record // guarded by mu
	stats     MonitorStats            // guarded by mu; Instances is filled in by Stats
	swept     time.Time               // guarded by mu; when the forgettable were last looked for in Observe
}

type instanceKey struct{ service, instance string }

// Instance is what a [Monitor] knows of one instance of a service at the moment of asking.
type Instance struct {
	Service, ID string
	State       State
	Why         string        // the reason for State, for people
	Age         time.Duration // since the newest beat left its sender, as far as known here
	Uptime      time.Duration // as of the newest beat
	Count       uint64        // of the newest beat
	Missed      uint64        // beats that must have been sent since the first one that was seen, and were not seen
	Beat        Beat          // the newest
}

// MonitorStats counts what a [Monitor] was shown.
type MonitorStats struct {
	Instances int    `json:"instances"`           // held now, the stopped and the dead included
	Beats     uint64 `json:"beats"`               // that were news
	Old       uint64 `json:"old"`                 // that were known already, or older than what is known
	Bad       uint64 `json:"bad"`                 // that could not be read
	Refused   uint64 `json:"refused"`             // of instances for which there was no room
	LastBad   string `json:"last_bad,omitempty"`  // why the last bad one could not be read, one printable line
	Forgotten uint64 `json:"forgotten,omitempty"` // instances dropped because they had been gone for so long
}

// NewMonitor returns an empty monitor, or all that is wrong with cfg.
func NewMonitor(cfg MonitorConfig) (*Monitor, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return &Monitor{cfg: cfg, instances: map[instanceKey]*record{}}, nil
}

// Observe takes in a message that entered the broker age ago (0: just now; only that counts, never the clock of the
// sender). A beat older than the newest known of its instance changes nothing: redelivery and disorder are harmless.
// It returns an error for a payload that is no beat and ErrMonitorFull for an instance too many; both change nothing
// but Stats. It keeps nothing of payload and does not block.
func (m *Monitor) Observe(payload []byte, age time.Duration) error {
	beat, err := ParseBeat(payload)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.stats.Bad++
		m.stats.LastBad = oneLine(err.Error(), 2*maxNameBytes)
		return err
	}
	key := instanceKey{beat.Service, beat.Instance}
	seen := now.Add(-max(age, 0))
	known, found := m.instances[key]
	switch {
	case !found && !m.roomLocked(now):
		m.stats.Refused++
		return ErrMonitorFull
	case !found:
		m.instances[key] = &record{beat: &beat, seen: seen}
		m.stats.Beats++
	case known.update(&beat, seen):
		m.stats.Beats++
	default:
		m.stats.Old++
	}
	return nil
}

// Instances yields a snapshot, sorted by service and instance, with states as of the moment when the loop begins. It
// blocks only for the time of copying.
func (m *Monitor) Instances() iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		now := time.Now()
		records := m.snapshot(now)
		slices.SortFunc(records, func(a, b record) int {
			return cmp.Or(cmp.Compare(a.beat.Service, b.beat.Service), cmp.Compare(a.beat.Instance, b.beat.Instance))
		})
		for _, r := range records {
			if !yield(r.judge(m.cfg.Thresholds, now)) {
				return
			}
		}
	}
}

// Stats returns what was counted so far. It does not block.
func (m *Monitor) Stats() MonitorStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := m.stats
	stats.Instances = len(m.instances)
	return stats
}

func (m *Monitor) snapshot(now time.Time) []record {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked(now)
	records := make([]record, 0, len(m.instances))
	for _, r := range m.instances {
		records = append(records, *r)
	}
	return records
}

// roomLocked says whether one more instance may be held. A full monitor looks for what it can forget, but not for
// every single beat.
func (m *Monitor) roomLocked(now time.Time) bool {
	if len(m.instances) >= m.cfg.MaxInstances && now.Sub(m.swept) >= time.Minute {
		m.forgetLocked(now)
	}
	return len(m.instances) < m.cfg.MaxInstances
}

func (m *Monitor) forgetLocked(now time.Time) {
	m.swept = now
	if m.cfg.Forget < 0 {
		return
	}
	maps.DeleteFunc(m.instances, func(_ instanceKey, r *record) bool {
		gone := r.goneFor(m.cfg.Thresholds, now) >= m.cfg.Forget
		if gone {
			m.stats.Forgotten++
		}
		return gone
	})
}
