package consumer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrLeaseLost is the cause with which the context of a handler ends when somebody else was given one of its messages: whatever it
// does from then on, another one does as well.
var ErrLeaseLost = errors.New("consumer: the lease is lost: somebody else was given the message")

// stolen are the messages that are held here and lent to somebody else by now. Safe for concurrent use.
type stolen struct {
	n   atomic.Int64 // of ids: there is seldom any
	mu  sync.Mutex
	ids map[string]struct{}
}

func (s *stolen) add(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]struct{}{}
	}
	for _, id := range ids {
		s.ids[id] = struct{}{}
	}
	s.n.Store(int64(len(s.ids)))
}

func (s *stolen) has(id string) bool {
	if s.n.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.ids[id]
	return found
}

// forget is for what isn't held any more.
func (s *stolen) forget(batch []Outcome) {
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range batch {
		delete(s.ids, o.ID)
	}
	s.n.Store(int64(len(s.ids)))
}

// robbed takes note of messages that somebody else has by now: their handlers are told, and those that wait are not started.
func (c *Consumer[T]) robbed(ids []string) {
	c.stolen.add(ids)
	for _, w := range c.crew.all() {
		w.cancelStolen()
	}
}

// begin makes unit the one at work, and returns the context for it. One context serves many calls, until it had to be cancelled.
func (w *worker[T]) begin(ctx context.Context, unit []*Message[T]) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unit = unit
	if w.life == nil || w.life.Err() != nil {
		w.life, w.cancel = context.WithCancelCause(ctx)
	}
	w.cancelStolenLocked() // what was stolen before it was seen to be at work
	return w.life
}

func (w *worker[T]) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unit = nil
}

// atWork returns the first message of the running call; "" while none runs.
func (w *worker[T]) atWork() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.unit) == 0 {
		return ""
	}
	return w.unit[0].ID
}

// cancelStolen ends the context of the running call if that has a message which was stolen.
func (w *worker[T]) cancelStolen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancelStolenLocked()
}

func (w *worker[T]) cancelStolenLocked() {
	if w.c.stolen.n.Load() == 0 {
		return
	}
	for _, m := range w.unit {
		if w.c.stolen.has(m.ID) {
			w.cancel(ErrLeaseLost)
			return
		}
	}
}

// dropStolen gives back what was stolen of unit, for the reason err, and returns the rest.
func (w *worker[T]) dropStolen(unit []*Message[T], err error) []*Message[T] {
	if w.c.stolen.n.Load() == 0 {
		return unit
	}
	found := false
	for _, m := range unit {
		if !m.settled && w.c.stolen.has(m.ID) {
			w.add(m, Outcome{Kind: Release, Err: err})
			found = true
		}
	}
	if !found {
		return unit
	}
	w.flush()
	return unsettled(unit)
}

// robbed says whether the failure of unit, which was called just now, is that of a lease, and takes out what was stolen.
func (w *worker[T]) robbed(unit *[]*Message[T]) bool {
	rest := w.dropStolen(*unit, ErrLeaseLost)
	robbed := len(rest) < len(*unit)
	*unit = rest
	return robbed
}
