package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Ticket is the receipt of an accepted job, through which its outcome is learned. Any number of goroutines may wait
// on it, or none. All its methods are safe for concurrent use.
type Ticket[R any] struct {
	id    string
	queue canceller[R]

	mu       sync.Mutex
	shard    int32 // fixed once the job is in line
	state    state
	resolved bool
	result   R
	err      error
	done     chan struct{} // made for the first who asks: a ticket nobody waits on needs none
	context  *taskContext  // of the handler that ran last
	book     *book         // steps
	more     *particulars  // what few tickets have; fixed once the job has been accepted
}

// canceller is the queue of a ticket, which knows more types than the ticket does.
type canceller[R any] interface {
	cancel(t *Ticket[R], cause error) bool
}

// state is where a ticket's job is. It changes under Ticket.mu, and to or from waiting and delayed only under the locks of its shard, too.
type state uint8

const (
	waiting state = iota
	running
	delayed   // between two attempts, or a guest
	ended     // its outcome is settled, if not yet told
	accepting // the tracker hasn't stored it yet
)

// closedDone serves every ticket that was resolved before anybody asked.
var closedDone = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ID returns the ID of the job: the one that it was submitted with, or was given by a queue with a tracker.
func (t *Ticket[R]) ID() string { return t.id }

// Done returns a channel that is closed once the outcome is there. It doesn't block.
func (t *Ticket[R]) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		if t.resolved {
			return closedDone
		}
		t.done = make(chan struct{})
	}
	return t.done
}

// Wait blocks until the task has ended and returns what its handler returned in the last attempt: a [*PanicError] if it
// panicked, [ErrGoexit] if it ended its goroutine. [ErrCancelled], [ErrExpired], [ErrSuperseded] and [ErrNotRun] say that
// it was stopped, or never called. When ctx ends first, Wait returns its cause; the task goes on.
func (t *Ticket[R]) Wait(ctx context.Context) (R, error) {
	done := t.Done()
	select {
	case <-done:
		return t.result, t.err
	default:
	}
	select {
	case <-done:
		return t.result, t.err
	case <-ctx.Done():
		var zero R
		return zero, fmt.Errorf("queue: waiting for a task: %w", context.Cause(ctx))
	}
}

// Cancel stops the task: one that waits is not run, one that runs has its context cancelled with the cause [ErrCancelled],
// and is not tried again. It doesn't block, and reports false if the task has ended already. A handler that ignores its
// context goes on; what it returns without an error counts.
func (t *Ticket[R]) Cancel() bool { return t.queue.cancel(t, ErrCancelled) }

// Steps returns the steps that the task has recorded so far, in the order of their end. It doesn't block.
func (t *Ticket[R]) Steps() []StepRecord {
	t.mu.Lock()
	b := t.book
	t.mu.Unlock()
	return b.list()
}

// begin makes the ticket's job a running one, unless it has ended already.
func (t *Ticket[R]) begin(work context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == ended {
		return false
	}
	t.state = running
	t.context = &taskContext{parent: work}
	if t.more != nil {
		t.context.deadline = t.more.deadline
	}
	return true
}

// checkDeadline makes sure that a task whose deadline has passed counts as expired: its context may have said so before the ticket's timer did.
func (t *Ticket[R]) checkDeadline() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.context; c.stopped == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.stopped = ErrExpired
	}
}

func (t *Ticket[R]) resolve(result R, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result, t.err, t.resolved = result, err, true
	if t.done != nil {
		close(t.done)
	}
}
