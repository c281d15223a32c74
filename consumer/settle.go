package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// settleTimeout bounds one call of Source.Settle or Config.DeadLetter.
	settleTimeout = 30 * time.Second
	// firstPause and longestPause are between further tries to settle or receive.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// settler collects outcomes and stores them in batches: what comes while one batch is on its way is the next batch. Outcomes are
// tried again until they are stored.
type settler struct {
	what   string // it does, for the log
	log    *slog.Logger
	store  func(ctx context.Context, batch []Outcome) error
	stored func(batch []Outcome)

	wake chan struct{} // filled when there is something to store, or closed

	mu      sync.Mutex
	pending []Outcome
	closed  bool
}

func newSettler(what string, log *slog.Logger, store func(context.Context, []Outcome) error, stored func([]Outcome)) *settler {
	return &settler{what: what, log: log, store: store, stored: stored, wake: make(chan struct{}, 1)}
}

// push never blocks.
func (s *settler) push(outcomes ...Outcome) {
	s.mu.Lock()
	first := len(s.pending) == 0
	s.pending = append(s.pending, outcomes...)
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

func (s *settler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close lets run return when everything that was pushed is stored.
func (s *settler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

// take returns what is pending, in exchange for an empty slice to fill next.
func (s *settler) take(empty []Outcome) (batch []Outcome, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.pending = s.pending, empty
	return batch, s.closed
}

// run stores until it is closed and done, or until ctx ends. It returns how many outcomes it could not store.
func (s *settler) run(ctx context.Context) (unsettled int) {
	var spare []Outcome
	for {
		batch, closed := s.take(spare)
		spare = batch[:0] // for the time after this batch
		switch {
		case len(batch) > 0:
			if !s.persist(ctx, batch) {
				late, _ := s.take(nil)
				return len(batch) + len(late)
			}
			s.stored(batch)
			clear(batch)
		case closed:
			return 0
		default:
			select {
			case <-s.wake:
			case <-ctx.Done():
				return 0
			}
		}
	}
}

// persist stores one batch, however long that takes. It reports false if ctx has ended first.
func (s *settler) persist(ctx context.Context, batch []Outcome) bool {
	trouble := episode{log: s.log, what: s.what}
	for {
		err := s.once(ctx, batch)
		if err == nil {
			trouble.over()
			return true
		}
		if !trouble.wait(ctx, err) {
			return false
		}
	}
}

func (s *settler) once(ctx context.Context, batch []Outcome) (err error) {
	defer recovered(&err)
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return s.store(ctx, batch)
}
