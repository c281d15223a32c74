package queue

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ledger is the queue's side of a tracker: it has jobs stored before they are accepted, writes what becomes of them, and takes over what others left.
type ledger[T, R any] struct {
	q       *Queue[T, R]
	tracker Tracker
	owner   string

	mu         sync.Mutex
	pending    []*acceptance[T, R] // for the next commit
	committers int
	dirty      []*Ticket[R]    // whose newest state is to be written
	unknown    map[string]int  // IDs whose commit was cut short, and how often they were looked for since
	written    chan struct{}   // tells the journal of the first that is dirty
	background context.Context // ended by Run

	// Only run has to do with these.
	left   []TrackedRequest // handed over to us, and not in any shard yet
	guests []guest[R]

	held   atomic.Bool // a lease was got
	outage atomic.Bool
	count  struct{ accepted, untracked, recovered, refused atomic.Int64 }
}

// row is what the tracker keeps of a job, as far as it changes. Guarded by Ticket.mu.
type row struct {
	request  TrackedRequest // without its payload
	dirty    bool           // it is in ledger.dirty
	unsure   bool           // it may not be stored
	finished bool           // its outcome is to be written, and then its ID forgotten
	lost     bool           // somebody else's
	accepted chan struct{}  // closed once it is known whether the job was accepted
	refused  error          // valid once accepted is closed: why it wasn't
}

// attemptsLeft says whether the attempt in hand is not the last one. Only its worker may ask.
func (r *row) attemptsLeft(configured int) bool {
	return r.request.Attempts < cmp.Or(r.request.MaxAttempts, configured)
}

// acceptance is a job that is being accepted.
type acceptance[T, R any] struct {
	entry   entry[T, R]
	request TrackedRequest
}

func newLedger[T, R any](q *Queue[T, R]) *ledger[T, R] {
	return &ledger[T, R]{
		q: q, tracker: q.cfg.Tracker, owner: q.cfg.Owner, background: context.Background(),
		unknown: make(map[string]int), written: make(chan struct{}, 1),
	}
}

// accept has a job stored and puts it in line.
func (l *ledger[T, R]) accept(ctx context.Context, job *Job[T]) (*Ticket[R], error) {
	a, ticket, err := l.enter(job)
	if a != nil {
		l.commit(a)
	}
	if err != nil {
		return nil, err
	}
	return l.await(ctx, ticket)
}

// acceptAll is accept for many, in one commit.
func (l *ledger[T, R]) acceptAll(ctx context.Context, jobs []Job[T]) ([]*Ticket[R], error) {
	tickets := make([]*Ticket[R], len(jobs))
	var all []*acceptance[T, R]
	var errs []error
	full := false
	for i := range jobs {
		err := jobs[i].validate()
		var a *acceptance[T, R]
		if err == nil {
			a, tickets[i], err = l.enter(&jobs[i])
		}
		if a != nil {
			all = append(all, a)
		}
		if err != nil && (!full || !errors.Is(err, ErrFull)) {
			errs = append(errs, err)
		}
		full = full || errors.Is(err, ErrFull)
	}
	l.commit(all...)
	for i, t := range tickets {
		if t == nil {
			continue
		}
		var err error
		if tickets[i], err = l.await(ctx, t); err != nil {
			errs = append(errs, err)
		}
	}
	return tickets, errors.Join(errs...)
}

// await waits until it is known whether the ticket's job was accepted.
func (l *ledger[T, R]) await(ctx context.Context, t *Ticket[R]) (*Ticket[R], error) {
	select {
	case <-t.more.row.accepted:
		if err := t.more.row.refused; err != nil {
			return nil, err
		}
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// enter finds the job a place, and returns what is to be committed: nothing, if the job's ID is that of an unfinished one.
func (l *ledger[T, R]) enter(job *Job[T]) (*acceptance[T, R], *Ticket[R], error) {
	q := l.q
	a, err := l.prepare(job)
	if err != nil {
		return nil, nil, err
	}
	t := a.entry.ticket
	first, err := q.idsOf(t.id).join(t, func() error { return q.reserve(t, job.Key) })
	if err != nil {
		return nil, nil, err
	}
	if first != t {
		q.duplicates.Add(1)
		return nil, first, nil
	}
	if l.outage.Load() {
		l.acceptInOutage(a)
		return nil, t, nil
	}
	return a, t, nil
}

// acceptInOutage does with a job that can't be stored now what the configuration says.
func (l *ledger[T, R]) acceptInOutage(a *acceptance[T, R]) {
	if l.q.cfg.AcceptUntracked {
		l.acceptUntracked(a)
		return
	}
	l.count.refused.Add(1)
	l.refuse(a.entry.ticket, ErrOutage)
}

// prepare makes the job's ticket and what is to be stored.
func (l *ledger[T, R]) prepare(job *Job[T]) (*acceptance[T, R], error) {
	id := job.ID
	if id == "" {
		id = rand.Text()
	}
	if err := errors.Join(checkName("Job.ID", id), checkName("Job.Key", job.Key)); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(job.Payload)
	if err != nil {
		return nil, fmt.Errorf("queue: Job.Payload can't be kept: %w", err)
	}
	now := time.Now()
	request := TrackedRequest{
		Queue: l.q.cfg.Name, ID: id, Key: job.Key, Priority: job.Priority, MaxAttempts: job.Attempts, Deadline: job.Deadline,
		Status: StatusQueued, Created: now, Queued: now, Worker: l.owner,
	}
	t := &Ticket[R]{id: id, queue: l.q, state: accepting}
	t.more = &particulars{deadline: job.Deadline, row: &row{request: request, accepted: make(chan struct{})}}
	request.Payload = payload
	return &acceptance[T, R]{request: request, entry: entry[T, R]{
		payload: job.Payload, ticket: t, queued: l.q.now(), priority: int16(job.Priority), attempts: uint16(job.Attempts),
	}}, nil
}

// reserve keeps a place for a job that is being accepted.
func (q *Queue[T, R]) reserve(t *Ticket[R], key string) error {
	first, candidates := q.route(t.id, key)
	for i := range candidates {
		s := q.shards[(first+i)%len(q.shards)]
		n, err := s.reserve(1)
		if err != nil {
			return err
		}
		if n == 1 {
			t.shard = int32(s.index)
			return nil
		}
	}
	return q.shards[first].full(q.now())
}

// admit puts a job that is stored in line, at the place that was kept for it.
func (l *ledger[T, R]) admit(e *entry[T, R]) {
	q, t := l.q, e.ticket
	t.mu.Lock()
	t.state = waiting
	t.mu.Unlock()
	close(t.more.row.accepted)
	if err := q.shards[t.shard].push(e, t.more.row.request.Key, true, q.clock); err != nil { // the drain has given up meanwhile
		l.dropped(t)
		return
	}
	q.limit(t)
	q.wake()
}

// dropped tells that a job came too late.
func (l *ledger[T, R]) dropped(t *Ticket[R]) {
	var none R
	t.mu.Lock()
	before := t.state
	t.state = ended
	t.mu.Unlock()
	if before != ended {
		l.q.conclude(t, counted, none, errDropped)
	}
}

// refuse gives back what a job that is not accepted was given.
func (l *ledger[T, R]) refuse(t *Ticket[R], err error) {
	t.mu.Lock()
	t.state = ended
	t.mu.Unlock()
	t.more.row.refused = err
	l.q.idsOf(t.id).leave(t)
	l.giveUp(t)
	close(t.more.row.accepted)
	var none R
	t.resolve(none, err)
}

func (l *ledger[T, R]) giveUp(t *Ticket[R]) {
	l.q.shards[t.shard].release(1)
	l.q.tellEnd()
}

func (l *ledger[T, R]) acceptUntracked(a *acceptance[T, R]) {
	l.count.untracked.Add(1)
	t := a.entry.ticket
	t.mu.Lock()
	t.more.row.unsure = true
	t.mu.Unlock()
	l.admit(&a.entry)
}

// Request returns what is known of the job with that ID: what the tracker has, or, without a tracker or while that can't be
// reached, what is known of an unfinished one. found is false if nothing is. With a tracker it blocks.
func (q *Queue[T, R]) Request(ctx context.Context, id string) (r TrackedRequest, found bool, err error) {
	if q.ledger != nil {
		if r, found, err = q.ledger.tracker.Request(ctx, q.cfg.Name, id); found {
			return r, true, nil
		}
	}
	t := q.idsOf(id).find(id)
	if t == nil || id == "" {
		return TrackedRequest{}, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more != nil && t.more.row != nil {
		r = t.more.row.request
	}
	r.Queue, r.ID, r.Steps = q.cfg.Name, id, t.book.list()
	r.Status = StatusQueued
	if t.state == running {
		r.Status = StatusProcessing
	}
	return r, true, nil
}
