package consumertest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
)

// Source is a consumer.Source in memory. It keeps dead letters. Safe for concurrent use.
type Source struct {
	mu        sync.Mutex
	changed   chan struct{} // closed at the next change
	published int
	finished  int // acked or dead
	waiting   []consumer.Raw
	lent      map[string]consumer.Raw // by ID, as delivered
	outcomes  []consumer.Outcome
	broken    error
}

// NewSource returns an empty source.
func NewSource() *Source {
	return &Source{changed: make(chan struct{}), lent: map[string]consumer.Raw{}}
}

// Publish adds messages with these payloads. Their IDs are "1", "2" and so on.
func (s *Source) Publish(payloads ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range payloads {
		s.published++
		s.waiting = append(s.waiting, consumer.Raw{
			ID: strconv.Itoa(s.published), At: time.Now(), Attempt: 1, Payload: []byte(p),
		})
	}
	s.changeLocked()
}

// Break lets every Receive and Settle fail with err, until it is called with nil.
func (s *Source) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	s.changeLocked()
}

// Receive waits for messages.
func (s *Source) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	for {
		raws, changed, err := s.take(credit)
		if len(raws) > 0 || err != nil {
			return raws, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Source) take(credit consumer.Credit) (raws []consumer.Raw, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, nil, s.broken
	}
	n := 0
	for bytes := int64(0); n < min(len(s.waiting), credit.Count); n++ {
		if bytes += int64(len(s.waiting[n].Payload)); n > 0 && bytes > credit.Bytes {
			break
		}
		s.lent[s.waiting[n].ID] = s.waiting[n]
	}
	raws = slices.Clone(s.waiting[:n])
	s.waiting = s.waiting[n:]
	return raws, s.changed, nil
}

// Settle takes note of the outcomes. A message that is to come again does so after its time.
func (s *Source) Settle(_ context.Context, outcomes []consumer.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	for _, o := range outcomes {
		raw, lent := s.lent[o.ID]
		if !lent {
			continue // settled before
		}
		delete(s.lent, o.ID)
		s.outcomes = append(s.outcomes, o)
		switch o.Kind {
		case consumer.Ack, consumer.Dead:
			s.finished++
			continue
		case consumer.Retry:
			raw.Attempt++
		}
		if o.After > 0 {
			time.AfterFunc(o.After, func() { s.giveBack(raw) })
			continue
		}
		s.waiting = append(s.waiting, raw)
	}
	s.changeLocked()
	return nil
}

func (s *Source) giveBack(raw consumer.Raw) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, raw)
	s.changeLocked()
}

// Close gives back what was delivered and never settled: the next consumer gets it.
func (s *Source) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.SortedFunc(maps.Values(s.lent), func(a, b consumer.Raw) int { return a.At.Compare(b.At) })
	s.waiting = append(left, s.waiting...)
	clear(s.lent)
	s.changeLocked()
	return nil
}

// KeepsDead says that Dead returns the dead letters.
func (s *Source) KeepsDead() string { return "memory" }

// Lag is how many messages wait to be delivered.
func (s *Source) Lag(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.waiting)), nil
}

// Outcomes returns what was settled so far, in that order.
func (s *Source) Outcomes() []consumer.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.outcomes)
}

// Acked returns the IDs of the messages that are done, in the order in which they were acked.
func (s *Source) Acked() []string {
	return s.ids(consumer.Ack)
}

// Dead returns the IDs of the dead letters, the oldest first. Outcomes has the reasons.
func (s *Source) Dead() []string {
	return s.ids(consumer.Dead)
}

func (s *Source) ids(kind consumer.Kind) (ids []string) {
	for _, o := range s.Outcomes() {
		if o.Kind == kind {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// Wait blocks until every message that was published is acked or dead, or ctx has ended.
func (s *Source) Wait(ctx context.Context) error {
	for {
		done, changed := s.done()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Source) done() (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished == s.published, s.changed
}

func (s *Source) changeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}
