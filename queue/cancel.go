package queue

import (
	"errors"
	"fmt"
)

// Cancel is Ticket.Cancel for the unfinished job with that ID. It reports false if there is none.
func (q *Queue[T, R]) Cancel(id string) bool {
	if id == "" {
		return false
	}
	t := q.idsOf(id).find(id)
	return t != nil && q.cancel(t, ErrCancelled)
}

// cancel stops a task for the reason that cause tells.
func (q *Queue[T, R]) cancel(t *Ticket[R], cause error) bool {
	s := q.lockShardOf(t)
	before, ctx := t.state, t.context
	switch before {
	case ended, accepting:
		t.mu.Unlock()
		s.out.Unlock()
		return false
	case running:
		if ctx.stopped != nil {
			ctx = nil
			break
		}
		ctx.stopped = cause
	default:
		t.state = ended
	}
	t.mu.Unlock()
	if before == running {
		s.out.Unlock()
		if ctx != nil {
			ctx.stop(cause)
		}
		return true
	}
	s.out.tally.count(outcomeOf(cause))
	if before == delayed {
		s.forgetLocked(t)
	} else {
		s.out.dead++
	}
	s.out.Unlock()
	s.tellRoom()
	q.tellEnd()
	var none R
	q.conclude(t, outcomeOf(cause), none, cause)
	q.wake()
	return true
}

// lockShardOf locks the out side of the ticket's shard, and the ticket.
func (q *Queue[T, R]) lockShardOf(t *Ticket[R]) *shard[T, R] {
	for {
		t.mu.Lock()
		s := q.shards[t.shard]
		t.mu.Unlock()
		s.out.Lock()
		t.mu.Lock()
		if q.shards[t.shard] == s {
			return s
		}
		t.mu.Unlock() // a guest that went home meanwhile
		s.out.Unlock()
	}
}

// outcomeOf says how a task has ended that was stopped for that cause.
func outcomeOf(cause error) outcome {
	switch {
	case errors.Is(cause, ErrExpired):
		return expired
	case errors.Is(cause, ErrSuperseded):
		return superseded
	default:
		return cancelled
	}
}

// stopped is the error of a task that was stopped and has returned err.
func stopped(cause, err error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}
