package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// shard is one waiting line, and the account of what has come and gone. Nothing but its own bookkeeping happens under
// its mutex.
type shard[T, R any] struct {
	index    int
	capacity int
	depth    atomic.Int64 // waiting.len, written under mu; read without it, to pass by an empty shard

	mu      sync.Mutex
	closed  bool
	waiting fifo[entry[T, R]]
	drain   drainRate
	tally   tally
}

// entry is a job that waits.
type entry[T, R any] struct {
	job    Job[T]
	ticket *Ticket[R]    // nil where none was asked for; jobs with an ID have theirs in the index of ids
	queued time.Duration // on the queue's clock
}

// tally counts tasks by where they are. A task is settled on the shard that its worker visits next: sums over all
// shards are exact, those of one are not.
type tally struct {
	active, done, failed, notRun int64
}

func (t *tally) add(u tally) {
	t.active += u.active
	t.done += u.done
	t.failed += u.failed
	t.notRun += u.notRun
}

// push appends a job, or returns ErrFull or ErrClosed as they are.
func (s *shard[T, R]) push(job *Job[T], ticket *Ticket[R], now time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.waiting.len >= s.capacity:
		return ErrFull
	}
	s.drain.observe(now, s.waiting.len == 0)
	e := s.waiting.push()
	e.job, e.ticket, e.queued = *job, ticket, now
	s.depth.Store(int64(s.waiting.len))
	return nil
}

// take settles the worker's last task and hands it the next one. It reports false if there is none.
func (s *shard[T, R]) take(w *worker[T, R]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLocked(w)
	if s.waiting.len == 0 {
		return false
	}
	e := s.waiting.front()
	w.task.Job, w.task.Queued, w.ticket = e.job, w.queue.epoch.Add(e.queued), e.ticket
	w.busy, w.id, w.queued = true, e.job.ID, e.queued
	s.waiting.drop()
	s.depth.Store(int64(s.waiting.len))
	if !w.searching { // else it had been free: that task left for another reason than speed
		s.drain.left++
	}
	s.tally.active++
	return true
}

// settle counts the worker's last task and forgets it.
func (s *shard[T, R]) settle(w *worker[T, R]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLocked(w)
}

func (s *shard[T, R]) settleLocked(w *worker[T, R]) {
	switch w.outcome {
	case counted:
		return
	case done:
		s.tally.done++
	case failed:
		s.tally.failed++
	}
	s.tally.active--
	w.task, w.ticket, w.outcome = Task[T]{}, nil, counted
	w.busy, w.id = false, ""
}

// shut refuses all further jobs.
func (s *shard[T, R]) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// dropAll takes out all that waits.
func (s *shard[T, R]) dropAll() fifo[entry[T, R]] {
	s.mu.Lock()
	defer s.mu.Unlock()
	dropped := s.waiting
	s.waiting = fifo[entry[T, R]]{}
	s.depth.Store(0)
	s.tally.notRun += int64(dropped.len)
	return dropped
}

func (s *shard[T, R]) full(now time.Duration) *FullError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &FullError{Shard: s.index, Depth: s.waiting.len, RetryAfter: s.drain.retryAfter(now, s.waiting.len)}
}
