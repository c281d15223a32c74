package redispubsub

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/internal/redissub"
)

// Stats is a snapshot of a source.
type Stats struct {
	// Node is the address where it listens; empty while it is deaf.
	Node string `json:"node,omitempty"`
	// Heard is how many messages came, but for those that were too large.
	Heard int64 `json:"heard"`
	// Dropped is how many of those were lost here: there was no room, or the source was closed before they were handled.
	Dropped int64 `json:"dropped"`
	// Omitted is how many messages were larger than Config.MaxMessage.
	Omitted int64 `json:"omitted"`
	// Missed is how many messages of senders that count were not heard, as far as later ones tell. One that arrives late is taken off again.
	// One that was too large is in Omitted and, if its sender counts, here as well.
	Missed int64 `json:"missed"`
	// Gaps is how many times of deafness there were since the first subscription, DeafSeconds how long those were that are over.
	Gaps        int64   `json:"gaps"`
	DeafSeconds float64 `json:"deaf_seconds"`
	// LastError is the newest reason for being, or having been, deaf.
	LastError string `json:"last_error,omitempty"`
}

// counts are Stats in the making. Safe for concurrent use.
type counts struct {
	heard, dropped, omitted, missed atomic.Int64
	closed                          atomic.Bool // what waits is in dropped

	mu   sync.Mutex // guards what follows
	gaps int64
	gap  consumer.Gap // the last one
	deaf time.Duration
	told time.Time // when deafness was last logged; zero while there is none
}

// Stats returns how the source is doing. It doesn't block.
func (s *Source) Stats() Stats {
	sub, c := s.sub.Stats(), &s.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Node: sub.Node, LastError: sub.LastError, Heard: c.heard.Load(), Dropped: c.dropped.Load(), Omitted: c.omitted.Load(),
		Missed: c.missed.Load(), Gaps: c.gaps, DeafSeconds: c.deaf.Seconds(),
	}
}

// Lost is how many messages are known to be lost: dropped, omitted or missed. It may take one back that was late.
func (s *Source) Lost() int64 {
	c := &s.counts
	return c.dropped.Load() + c.omitted.Load() + c.missed.Load()
}

// Gaps is how many times of deafness are over.
func (s *Source) Gaps() (count int64, last consumer.Gap) {
	c := &s.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gaps, c.gap
}

// reminder is how often deafness that goes on is logged again.
const reminder = time.Minute

func (s *Source) down(err error) {
	c := &s.counts
	c.mu.Lock()
	due := time.Since(c.told) >= reminder
	if due {
		c.told = time.Now()
	}
	c.mu.Unlock()
	if due {
		s.cfg.Logger.Warn("redispubsub: nothing is heard, trying again", "error", err)
	}
}

func (s *Source) up(g redissub.Gap) {
	c := &s.counts
	first := g.Since.IsZero()
	c.mu.Lock()
	c.told = time.Time{}
	if !first {
		c.gaps++
		c.deaf += g.Until.Sub(g.Since)
		c.gap = consumer.Gap{At: g.Until, Reason: fmt.Sprintf("nothing was heard for %s: %v", g.Until.Sub(g.Since).Round(time.Millisecond), g.Why)}
	}
	c.mu.Unlock()
	if first {
		return
	}
	s.cfg.Logger.Warn("redispubsub: what was published in the meantime may be lost", "since", g.Since, "until", g.Until, "reason", g.Why)
	if s.cfg.Gap == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Logger.Error("redispubsub: Config.Gap panicked", "panic", v)
		}
	}()
	s.cfg.Gap(Gap(g))
}
