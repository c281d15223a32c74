package consumer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/upbeat-go/upbeat/internal/latency"
)

// Stats is a snapshot of a consumer.
type Stats struct {
	// Running is true from the start of Run until it returns.
	Running bool `json:"running"`
	// MessageCount is how many messages were handled, however that went. One that is handled again counts again.
	MessageCount uint64 `json:"message_count"`
	// ErrorCount is how many of those failed.
	ErrorCount uint64 `json:"error_count"`
	// ErrorRate is ErrorCount as a share of MessageCount, 0 to 1.
	ErrorRate float64 `json:"error_rate"`
	// LastMessageTime is when a message was last handled: the zero time if none was.
	LastMessageTime time.Time `json:"last_message_time,omitzero"`
	// UptimeSeconds is the time since the start of Run.
	UptimeSeconds float64 `json:"uptime_seconds"`

	// Concurrency is how many handlers may run at once, Active how many do.
	Concurrency int `json:"concurrency"`
	Active      int `json:"active"`
	// Paused is true between Pause and Resume.
	Paused bool `json:"paused"`
	// Latency is the time from a message's entry into the broker, by the broker's clock, until it was done, and Handling that of one call of
	// the handler, both over the last minute or two and within 4 %.
	Latency  Percentiles `json:"latency"`
	Handling Percentiles `json:"handling"`
	// InFlight is how many messages are held: waiting, being handled or being settled.
	InFlight int `json:"in_flight"`
	// InFlightBytes is the size of their payloads.
	InFlightBytes int64 `json:"in_flight_bytes"`
	// Retried is how many failures were given a further attempt.
	Retried uint64 `json:"retried"`
	// Dead is how many messages became dead letters.
	Dead uint64 `json:"dead"`
	// Lost is how many messages were lost before they could be delivered, as far as the source knows.
	Lost int64 `json:"lost"`
	// Gaps is how many times messages may have been lost besides, nobody knows how many, and LastGap the last one: a server that has forgotten
	// what it was told, a subscription that was down.
	Gaps    int64 `json:"gaps"`
	LastGap Gap   `json:"last_gap,omitzero"`
	// LeasesLost is how many messages somebody else was given while they were held here.
	LeasesLost uint64 `json:"leases_lost"`
	// Lag is how many messages wait at the source, some seconds ago; -1 if that is unknown.
	Lag int64 `json:"lag"`
	// Outage is true while intake is paused because no handler gets through to the other side.
	Outage bool `json:"outage"`
}

// Percentiles are durations that 50, 95 and 99 of a hundred don't exceed, in seconds; 0 while there is nothing to count.
type Percentiles struct {
	P50 float64 `json:"p50_seconds"`
	P95 float64 `json:"p95_seconds"`
	P99 float64 `json:"p99_seconds"`
}

func percentilesOf(r *latency.Recent, now time.Duration) Percentiles {
	p50, p95, p99 := r.Percentiles(now)
	return Percentiles{P50: p50.Seconds(), P95: p95.Seconds(), P99: p99.Seconds()}
}

// Stats returns how the consumer is doing. It doesn't block.
func (c *Consumer[T]) Stats() Stats {
	inFlight := c.budget.inFlight()
	s := c.tally.stats()
	now := time.Since(c.tally.made)
	s.Latency, s.Handling = percentilesOf(&c.tally.latency, now), percentilesOf(&c.tally.handling, now)
	s.InFlight, s.InFlightBytes = inFlight.Count, inFlight.Bytes
	s.Concurrency, s.Active = c.crew.size(), len(c.handling())
	s.Paused = c.paused.Load()
	s.Outage = c.outage.on.Load()
	if l, ok := c.src.(LossCounter); ok {
		s.Lost = l.Lost()
	}
	if g, ok := c.src.(GapCounter); ok {
		s.Gaps, s.LastGap = g.Gaps()
	}
	return s
}

// tally counts. Safe for concurrent use.
type tally struct {
	lag        atomic.Int64
	leasesLost atomic.Uint64
	made       time.Time
	latency    latency.Recent
	handling   latency.Recent

	mu                               sync.Mutex
	begun                            time.Time
	running                          bool
	handled, failed, retried, buried uint64
	last                             time.Time
}

// begin reports false if it was called before.
func (t *tally) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.begun.IsZero() {
		return false
	}
	t.begun, t.running = time.Now(), true
	return true
}

func (t *tally) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = false
}

func (t *tally) count(outcomes []Outcome) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range outcomes {
		if o.Kind == Release && o.Err == nil {
			continue // it wasn't handled
		}
		t.handled++
		t.last = now
		switch o.Kind {
		case Ack:
			t.latency.Record(now.Sub(o.At), now.Sub(t.made))
			continue
		case Retry:
			t.retried++
		case Dead:
			t.buried++
		}
		t.failed++
	}
}

func (t *tally) stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{
		Running: t.running, MessageCount: t.handled, ErrorCount: t.failed, LastMessageTime: t.last,
		Retried: t.retried, Dead: t.buried, LeasesLost: t.leasesLost.Load(), Lag: t.lag.Load(),
	}
	if t.handled > 0 {
		s.ErrorRate = float64(t.failed) / float64(t.handled)
	}
	if !t.begun.IsZero() {
		s.UptimeSeconds = time.Since(t.begun).Seconds()
	}
	return s
}
