package queue

import (
	"context"
	"sync"
	"time"
)

// particulars are what few jobs have, so that the others need not pay for it.
type particulars struct {
	deadline time.Time
	timer    *time.Timer // of the deadline
	row      *row        // with a tracker
}

// taskContext is a context that can be cancelled, but becomes one only when somebody looks: most handlers of quick tasks never do.
type taskContext struct {
	parent   context.Context
	deadline time.Time
	stopped  error // why the task is to stop; guarded by Ticket.mu

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelCauseFunc
	free   context.CancelFunc // of the deadline's timer
	over   bool               // the task has ended
}

// full is the context that it stands for.
func (c *taskContext) full() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fullLocked()
}

func (c *taskContext) fullLocked() context.Context {
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.parent)
		if !c.deadline.IsZero() {
			c.inner, c.free = context.WithDeadlineCause(c.inner, c.deadline, ErrExpired)
		}
		if c.over {
			c.stopLocked(nil)
		}
	}
	return c.inner
}

func (c *taskContext) stopLocked(cause error) {
	c.cancel(cause)
	if c.free != nil {
		c.free()
	}
}

// seen says whether anybody has looked at it: who hasn't can't have been stopped by it.
func (c *taskContext) seen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inner != nil
}

// stop cancels it with a cause.
func (c *taskContext) stop(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fullLocked()
	c.stopLocked(cause)
}

// end gives back what it holds, when the task has ended.
func (c *taskContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.inner != nil {
		c.stopLocked(nil)
	}
}

func (c *taskContext) Deadline() (time.Time, bool) {
	if c.deadline.IsZero() {
		return c.parent.Deadline()
	}
	return c.deadline, true
}

func (c *taskContext) Done() <-chan struct{} { return c.full().Done() }

func (c *taskContext) Err() error { return c.full().Err() }

func (c *taskContext) Value(key any) any { return c.full().Value(key) }
