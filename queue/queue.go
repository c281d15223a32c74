package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Queue runs a handler over jobs with payload T and result R. Make one with [New]. All its methods are safe for
// concurrent use.
type Queue[T, R any] struct {
	cfg     Config
	handler func(context.Context, *Task[T]) (R, error)
	epoch   time.Time            // zero of the queue's monotonic clock
	clock   func() time.Duration // now, bound once
	seed    maphash.Seed

	shards []*shard[T, R]
	ids    []*ids[R] // by hash of the ID
	crew   crew[T, R]
	ranked atomic.Int64 // jobs in line that have a priority

	_          [64]byte
	turn       atomic.Uint32
	turns      sync.Pool // of *turn
	_          [64]byte
	duplicates atomic.Int64
	room       room

	started  atomic.Bool
	draining atomic.Bool
	ended    chan struct{}   // something has ended while draining
	work     context.Context // of handlers; set by Run before the first of them starts
	panics   panicLog

	waits, runs took
	gauge       gauge
	arrivals    gauge         // jobs a second
	lined       int64         // jobs that ever got in line, as the monitor saw it last
	computed    time.Duration // by the process, when the queue was made
	ledger      *ledger[T, R] // with a tracker
}

// New returns a queue that accepts jobs at once and runs them as soon as Run is called. It starts nothing. The error
// names all that is wrong with cfg.
//
// The handler is called by up to Config.Concurrency goroutines at once. Its context ends when the task is cancelled or
// superseded, at the job's deadline, and when the drain has run out of time; not when the context of Run does, whose values it carries.
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
		epoch:   time.Now().Add(-1), // so that no time is 0, which means that the clock wasn't read
		seed:    maphash.MakeSeed(),
		ended:   make(chan struct{}, 1),
	}
	q.clock, q.computed = q.now, processorTime()
	q.crew.limit = cfg.Concurrency
	for i := range cfg.Shards {
		s := &shard[T, R]{index: i, capacity: cfg.ShardCapacity, ranked: &q.ranked, common: &q.room}
		s.in.timed, s.out.drain.dry = timedASecond, true
		q.shards = append(q.shards, s)
		q.ids = append(q.ids, &ids[R]{unfinished: make(map[string]*Ticket[R])})
	}
	if cfg.Tracker != nil {
		q.ledger = newLedger(q)
	}
	return q, nil
}

// Len returns the number of jobs that wait, those between two attempts included. It doesn't block.
func (q *Queue[T, R]) Len() int {
	n := 0
	for _, s := range q.shards {
		n += s.depth()
	}
	return n
}

// ready says whether there may be jobs in line.
func (q *Queue[T, R]) ready() bool {
	for _, s := range q.shards {
		if s.ready() {
			return true
		}
	}
	return false
}

// empty says whether nothing waits, at one moment.
func (q *Queue[T, R]) empty() bool {
	defer q.lockAll()()
	n := 0
	for _, s := range q.shards {
		n += s.depthLocked()
	}
	return n == 0
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
		s.out.Lock()
		s.in.Lock()
	}
	return func() {
		for _, s := range q.shards {
			s.in.Unlock()
			s.out.Unlock()
		}
	}
}
