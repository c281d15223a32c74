package queue

import (
	"context"
	"fmt"
	"sync"
)

// Ticket is the receipt of an accepted job, through which its outcome is learned. Any number of goroutines may wait
// on it, or none.
type Ticket[R any] struct {
	mu       sync.Mutex
	resolved bool
	result   R
	err      error
	done     chan struct{} // made for the first who asks: a ticket nobody waits on needs none
}

// closedDone serves every ticket that was resolved before anybody asked.
var closedDone = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

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

// Wait blocks until the task has ended and returns what its handler returned: a [*PanicError] if it panicked,
// [ErrGoexit] if it ended its goroutine, [ErrNotRun] if it was never called. When ctx ends first, Wait returns its
// cause; the task goes on.
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

func (t *Ticket[R]) resolve(result R, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result, t.err, t.resolved = result, err, true
	if t.done != nil {
		close(t.done)
	}
}
