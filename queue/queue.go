package queue

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// Queue runs a handler over jobs with payload T and result R. Make one with [New]. All its methods are safe for
// concurrent use.
type Queue[T, R any] struct {
	cfg     Config
	handler func(context.Context, *Task[T]) (R, error)
	epoch   time.Time // zero of the queue's monotonic clock
	seed    maphash.Seed

	shards []*shard[T, R]
	ids    []*ids[R] // by hash of the ID
	turn   atomic.Uint32
	crew   crew[T, R]

	refused    atomic.Int64
	duplicates atomic.Int64

	started  atomic.Bool
	draining atomic.Bool
	ended    chan struct{}   // a worker has ended while draining
	work     context.Context // of handlers; set by Run before the first of them starts
	panics   panicLog
}

// New returns a queue that accepts jobs at once and runs them as soon as Run is called. It starts nothing. The error
// names all that is wrong with cfg.
//
// The handler is called by up to Config.Concurrency goroutines at once. Its context ends when the drain has run out
// of time, not when the context of Run does, and carries the values of the latter.
func New[T, R any](handler func(ctx context.Context, t *Task[T]) (R, error), cfg Config) (*Queue[T, R], error) {
	cfg = cfg.withDefaults()
	err := cfg.validate()
	if handler == nil {
		err = errors.Join(errors.New("queue: handler is nil"), err)
	}
	if err != nil {
		return nil, err
	}
	q := &Queue[T, R]{
		cfg:     cfg,
		handler: handler,
		epoch:   time.Now(),
		seed:    maphash.MakeSeed(),
		ended:   make(chan struct{}, 1),
	}
	for i := range cfg.Shards {
		q.shards = append(q.shards, &shard[T, R]{index: i, capacity: cfg.ShardCapacity})
		q.ids = append(q.ids, &ids[R]{unfinished: make(map[string]*Ticket[R])})
	}
	return q, nil
}

// Submit accepts a job and returns the ticket of its outcome. It doesn't block: where there is no room the error is
// a [*FullError], once the context of Run has ended it is [ErrClosed], and if ctx has ended already it is the cause of
// that. ctx doesn't reach the handler.
//
// If the job's ID is that of an unfinished one, no second job is made, whatever its Payload: Submit returns the
// first one's ticket.
func (q *Queue[T, R]) Submit(ctx context.Context, job Job[T]) (*Ticket[R], error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("queue: submit: %w", context.Cause(ctx))
	}
	return q.accept(&job, true)
}

// Go is Submit for a job whose outcome nobody waits for: it is only counted, and panics are logged. A job without an
// ID allocates nothing of its own; a waiting line that grows long gets room for 64 jobs at a time. If the job's ID is
// that of an unfinished one, Go returns nil.
func (q *Queue[T, R]) Go(job Job[T]) error {
	_, err := q.accept(&job, false)
	return err
}

// Len returns the number of jobs that wait. It doesn't block.
func (q *Queue[T, R]) Len() int {
	n := int64(0)
	for _, s := range q.shards {
		n += s.depth.Load()
	}
	return int(n)
}

func (q *Queue[T, R]) accept(job *Job[T], wanted bool) (ticket *Ticket[R], err error) {
	if job.ID != "" {
		var joined bool
		ticket, joined, err = q.idsOf(job.ID).join(job.ID, wanted, func() error { return q.push(job, nil) })
		if joined {
			q.duplicates.Add(1)
			return ticket, nil
		}
	} else {
		if wanted {
			ticket = new(Ticket[R])
		}
		err = q.push(job, ticket)
	}
	if err != nil {
		return nil, err
	}
	q.wake()
	return ticket, nil
}

// push routes a job to its shard. A job that is bound to none goes to the next in turn which has room.
func (q *Queue[T, R]) push(job *Job[T], ticket *Ticket[R]) error {
	now := q.now()
	first, candidates := q.route(job)
	for i := range candidates {
		err := q.shards[(first+i)%len(q.shards)].push(job, ticket, now)
		if err != ErrFull { //nolint:errorlint // the shard returns the sentinel itself
			return err
		}
	}
	q.refused.Add(1)
	return q.shards[first].full(now)
}

// route returns a job's first shard, and how many from there on may take it.
func (q *Queue[T, R]) route(job *Job[T]) (first, candidates int) {
	switch {
	case job.Key != "":
		return q.hash(job.Key), 1
	case job.ID != "":
		return q.hash(job.ID), 1
	default:
		return int(q.turn.Add(1) % uint32(len(q.shards))), len(q.shards)
	}
}

func (q *Queue[T, R]) hash(s string) int {
	return int(maphash.String(q.seed, s) % uint64(len(q.shards)))
}

func (q *Queue[T, R]) idsOf(id string) *ids[R] { return q.ids[q.hash(id)] }

// now reads the queue's clock, which costs half of time.Now.
func (q *Queue[T, R]) now() time.Duration { return time.Since(q.epoch) }

// lockAll locks every shard, for a view of all of them at one moment, and returns what unlocks them.
func (q *Queue[T, R]) lockAll() (unlock func()) {
	for _, s := range q.shards {
		s.mu.Lock()
	}
	return func() {
		for _, s := range q.shards {
			s.mu.Unlock()
		}
	}
}
