package queue

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// Retry says how tasks that fail are tried again. A task that waits for its next attempt keeps its place in the shard and,
// with a Key, its turn, but no worker. What is never tried again: [Permanent] errors, and tasks that were stopped.
type Retry struct {
	// Attempts is how often a task is tried at most, the first included: 1 to 1,000, 1 by default. Job.Attempts goes before it.
	Attempts int

	// MinBackoff is the pause after the first failure, 1 second by default; it doubles with each. MaxBackoff is its limit,
	// 1 minute by default. Up to a quarter is taken off at random.
	MinBackoff, MaxBackoff time.Duration
}

const (
	defaultMinBackoff = time.Second
	defaultMaxBackoff = time.Minute
	maxMaxBackoff     = 24 * time.Hour
)

// Permanent marks an error that no further attempt will mend. A nil error stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error   { return e.error }
func (e *permanentError) Permanent() bool { return true }

// IsPermanent says whether an error, or one that it wraps, has a method Permanent() bool that says so.
func IsPermanent(err error) bool {
	p, ok := errors.AsType[interface {
		error
		Permanent() bool
	}](err)
	return ok && p.Permanent()
}

// attempt is a task that waits for its next one.
type attempt[T, R any] struct {
	entry entry[T, R]
	timer *time.Timer // nil of a guest
}

func (a *attempt[T, R]) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// attempts is how often a job may be tried.
func (q *Queue[T, R]) attempts(e *entry[T, R]) int {
	if e.attempts > 0 {
		return int(e.attempts)
	}
	return q.cfg.Retry.Attempts
}

// retry has the worker's task tried again later, and reports false if it isn't to be.
func (q *Queue[T, R]) retry(w *worker[T, R], err error) bool {
	e := w.entry
	if int(e.attempt)+1 >= q.attempts(&e) || IsPermanent(err) {
		return false
	}
	e.attempt++
	pause := backoff.Shorten(backoff.Exponential(int(e.attempt), q.cfg.Retry.MinBackoff, q.cfg.Retry.MaxBackoff), 0.25, rand.Float64())
	if e.ticket == nil { // nobody waits for it, but from here on it has more to carry
		e.ticket = &Ticket[R]{queue: q, shard: int32(w.from.index), state: running, context: &taskContext{parent: q.work}}
	}
	s := w.from
	s.out.Lock()
	defer s.out.Unlock()
	if !q.delay(s, &e, w.steps, pause, err) {
		return false
	}
	w.outcome = again
	s.settleLocked(w)
	return true
}

// delay sets a task aside for a while, under the lock of the shard's out side. It fails if that is to stop.
func (q *Queue[T, R]) delay(s *shard[T, R], e *entry[T, R], b *book, pause time.Duration, err error) bool {
	s.in.Lock()
	defer s.in.Unlock()
	t := e.ticket
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.context.stopped != nil || s.in.dropped {
		return false
	}
	t.context.end()
	t.state = delayed
	if b != nil {
		t.book = b
	}
	if t.more != nil && t.more.row != nil {
		q.ledger.pauseLocked(t, int(e.attempt), err)
	}
	s.setAsideLocked(t, &attempt[T, R]{entry: *e, timer: time.AfterFunc(pause, func() { q.tryAgain(t) })})
	s.in.held++
	return true
}

func (s *shard[T, R]) setAsideLocked(t *Ticket[R], a *attempt[T, R]) {
	if s.in.delayed == nil {
		s.in.delayed = make(map[*Ticket[R]]*attempt[T, R])
	}
	s.in.delayed[t] = a
}

// tryAgain puts a task in line for its next attempt.
func (q *Queue[T, R]) tryAgain(t *Ticket[R]) {
	s := q.shards[t.shard]
	s.out.Lock()
	s.in.Lock()
	a := s.in.delayed[t]
	if a != nil {
		delete(s.in.delayed, t)
		t.mu.Lock()
		t.state = waiting
		t.mu.Unlock()
		a.entry.queued = q.now()
		s.lineUpLocked(&a.entry)
		s.in.held--
	}
	s.in.Unlock()
	s.out.Unlock()
	if a != nil {
		q.wake()
	}
}

// forgetLocked gives up the next attempt of a task that has been cancelled.
func (s *shard[T, R]) forgetLocked(t *Ticket[R]) {
	s.in.Lock()
	a := s.in.delayed[t]
	delete(s.in.delayed, t)
	s.in.held--
	s.in.Unlock()
	a.stop()
	s.advanceLocked(a.entry.lane)
}
