package heartbeat

import (
	"maps"
	"sync"
	"time"
)

// PublisherStats is what a [Publisher] has done so far.
type PublisherStats struct {
	Service  string `json:"service_name"`
	Instance string `json:"instance_id"`
	Running  bool   `json:"running"` // Run has been called and has not returned
	// Count is the number of beats tried, the one under way included: heartbeat_count of the newest.
	Count uint64 `json:"heartbeat_count"`
	// Published were confirmed by Redis in all of their places, Failed were not; some of those may have arrived.
	Published uint64 `json:"published"`
	Failed    uint64 `json:"failed"`
	// FailedInARow is the number of failures since the newest success; 0 when all is well.
	FailedInARow  uint64    `json:"failed_in_a_row"`
	LastPublished time.Time `json:"last_published,omitzero"`
	// LastError is that of the newest failure, in one printable line.
	LastError string `json:"last_error,omitempty"`
	// CollectorErrors are those of the newest beat: what gave no value, and why.
	CollectorErrors map[string]string `json:"collector_errors,omitempty"`
}

// tally counts beats. Safe for concurrent use.
type tally struct {
	mu    sync.Mutex
	stats PublisherStats // guarded by mu
	last  *Beat          // guarded by mu; the newest, nil before the first
}

func (t *tally) snapshot() PublisherStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	stats := t.stats
	stats.CollectorErrors = maps.Clone(stats.CollectorErrors)
	return stats
}

func (t *tally) setRunning(running bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Running = running
}

// begin returns the number of a new beat.
func (t *tally) begin() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Count++
	return t.stats.Count
}

// newest returns the newest beat, whether or not it got through; nil before the first.
func (t *tally) newest() *Beat {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *tally) settle(err error, b *Beat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.CollectorErrors = b.CollectorErrors
	t.last = b
	if err != nil {
		t.stats.Failed++
		t.stats.FailedInARow++
		t.stats.LastError = oneLine(err.Error(), 2*maxNameBytes)
		return
	}
	t.stats.Published++
	t.stats.FailedInARow = 0
	t.stats.LastPublished = time.Now()
}
