package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Submit accepts a job and returns the ticket of its outcome. It never waits for room: where there is none the error is
// a [*FullError], once the context of Run has ended it is [ErrClosed], and if ctx has ended already it is the cause of
// that. ctx doesn't reach the handler.
//
// Without a tracker it doesn't block. With one it waits until the job is stored, and for nothing else; see Config.Tracker
// for what else it may say then.
//
// If the job's ID is that of an unfinished one, no second job is made, whatever its Payload: Submit returns the
// first one's ticket.
func (q *Queue[T, R]) Submit(ctx context.Context, job Job[T]) (*Ticket[R], error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("queue: submit: %w", context.Cause(ctx))
	}
	return q.accept(ctx, &job, true)
}

// Go is Submit for a job whose outcome nobody waits for: it is only counted, and panics are logged. A job without ID,
// Key and Deadline allocates nothing of its own; a waiting line that grows long gets room for 64 jobs at a time. If the
// job's ID is that of an unfinished one, Go returns nil. With a tracker it waits until the job is stored.
func (q *Queue[T, R]) Go(job Job[T]) error {
	if job.ID == "" && job.Key == "" && job.Priority|job.Attempts == 0 && job.Deadline.IsZero() && q.ledger == nil {
		if q.pushPlain(&job.Payload) {
			q.wake()
			return nil
		}
	}
	_, err := q.accept(context.Background(), &job, false)
	return err
}

// SubmitBatch submits the jobs in turn, with a tracker in one transaction. tickets[i] is that of jobs[i], or nil if that was
// refused. The error holds that of every job that was refused, but [ErrFull] only once.
func (q *Queue[T, R]) SubmitBatch(ctx context.Context, jobs []Job[T]) (tickets []*Ticket[R], err error) {
	if ctx.Err() != nil {
		return make([]*Ticket[R], len(jobs)), fmt.Errorf("queue: submit: %w", context.Cause(ctx))
	}
	if q.ledger != nil {
		return q.ledger.acceptAll(ctx, jobs)
	}
	tickets = make([]*Ticket[R], len(jobs))
	var errs []error
	full := false
	for i := range jobs {
		ticket, err := q.accept(ctx, &jobs[i], true)
		tickets[i] = ticket
		if err != nil && (!full || !errors.Is(err, ErrFull)) {
			errs = append(errs, err)
		}
		full = full || errors.Is(err, ErrFull)
	}
	return tickets, errors.Join(errs...)
}

func (q *Queue[T, R]) accept(ctx context.Context, job *Job[T], wanted bool) (*Ticket[R], error) {
	if err := job.validate(); err != nil {
		return nil, err
	}
	if !job.Deadline.IsZero() && !job.Deadline.After(time.Now()) {
		return nil, ErrExpired
	}
	if q.ledger != nil {
		return q.ledger.accept(ctx, job)
	}
	e := entry[T, R]{payload: job.Payload, priority: int16(job.Priority), attempts: uint16(job.Attempts)}
	if wanted || job.ID != "" || !job.Deadline.IsZero() {
		return q.acceptTicket(job, &e)
	}
	if err := q.push(&e, "", job.Key); err != nil {
		return nil, err
	}
	q.wake()
	return nil, nil
}

// turn is a processor's: the shard that is given its jobs, and how many more of them. So processors seldom meet at a shard, or at the count of turns.
type turn struct{ at, left uint32 }

func (q *Queue[T, R]) pushPlain(payload *T) bool {
	t, _ := q.turns.Get().(*turn)
	if t == nil {
		t = new(turn)
	}
	if t.left == 0 {
		t.at, t.left = q.turn.Add(1)%uint32(len(q.shards)), stretch
	}
	t.left--
	pushed := q.shards[t.at].pushPlain(payload, q.clock)
	q.turns.Put(t)
	return pushed
}

func (q *Queue[T, R]) acceptTicket(job *Job[T], e *entry[T, R]) (ticket *Ticket[R], err error) {
	e.ticket = q.newTicket(job)
	e.queued = q.now()
	push := func() error { return q.push(e, job.ID, job.Key) }
	if job.ID == "" {
		err = push()
	} else if ticket, err = q.idsOf(job.ID).join(e.ticket, push); err == nil && ticket != e.ticket {
		q.duplicates.Add(1)
		return ticket, nil
	}
	if err != nil {
		return nil, err
	}
	q.limit(e.ticket)
	q.wake()
	return e.ticket, nil
}

func (q *Queue[T, R]) newTicket(job *Job[T]) *Ticket[R] {
	t := &Ticket[R]{id: job.ID, queue: q}
	if !job.Deadline.IsZero() {
		t.more = &particulars{deadline: job.Deadline}
	}
	return t
}

// limit has the task stopped at its deadline, if it has one.
func (q *Queue[T, R]) limit(t *Ticket[R]) {
	if t.more == nil || t.more.deadline.IsZero() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != ended {
		t.more.timer = time.AfterFunc(time.Until(t.more.deadline), func() { q.cancel(t, ErrExpired) })
	}
}

// push routes a job to its shard. A job that is bound to none goes to the next in turn which has room.
func (q *Queue[T, R]) push(e *entry[T, R], id, key string) error {
	first, candidates := q.route(id, key)
	for i := range candidates {
		s := q.shards[first]
		if i > 0 {
			s = q.shards[(first+i)%len(q.shards)]
		}
		if e.ticket != nil {
			e.ticket.shard = int32(s.index)
		}
		err := s.push(e, key, false, q.clock)
		if err != ErrFull { //nolint:errorlint // the shard returns the sentinel itself
			return err
		}
	}
	return q.shards[first].full(q.now())
}

// route returns a job's first shard, and how many from there on may take it.
func (q *Queue[T, R]) route(id, key string) (first, candidates int) {
	switch {
	case key != "":
		return q.hash(key), 1
	case id != "" && !q.cfg.RoundRobin:
		return q.hash(id), 1
	default:
		return int(q.turn.Add(1) % uint32(len(q.shards))), len(q.shards)
	}
}

// foremost is the shard that has the job with the highest priority; own, if that is as good.
func (q *Queue[T, R]) foremost(own int) int {
	best, top := own, q.shards[own].top()
	for i, s := range q.shards {
		if t := s.top(); t > top {
			best, top = i, t
		}
	}
	return best
}
