package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// SubmitWait is Submit that waits for room instead of saying that there is none, until ctx ends. A handler that waits
// for room in its own queue may wait for itself: it should use Submit.
func (q *Queue[T, R]) SubmitWait(ctx context.Context, job Job[T]) (*Ticket[R], error) {
	for {
		ticket, err := q.Submit(ctx, job)
		full, ok := errors.AsType[*FullError](err)
		if !ok {
			return ticket, err
		}
		r := &q.room
		if _, candidates := q.route(job.ID, job.Key); candidates == 1 {
			r = &q.shards[full.Shard].room
		}
		place := r.enter()
		if ticket, err := q.Submit(ctx, job); !errors.Is(err, ErrFull) { // there was room before we stood in line for it
			r.leave(place)
			return ticket, err
		}
		select {
		case <-place:
		case <-ctx.Done():
			r.leave(place)
			return nil, fmt.Errorf("queue: waiting for room: %w", context.Cause(ctx))
		}
	}
}

// room is where submitters wait for a place to become free: those whose jobs are bound to a shard in that of the shard, the others in that of
// the queue. Each place that becomes free is told to one of them.
type room struct {
	keen atomic.Int32 // len(waiting)

	mu      sync.Mutex
	waiting []chan struct{}
	closed  bool
}

// enter returns a channel that tells of one place, or is closed once there will be none.
func (r *room) enter() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	place := make(chan struct{}, 1)
	if r.closed {
		close(place)
		return place
	}
	r.waiting = append(r.waiting, place)
	r.keen.Store(int32(len(r.waiting)))
	return place
}

// leave has the next one told of the place if we have been told, and don't need it.
func (r *room) leave(place chan struct{}) {
	r.mu.Lock()
	i := slices.Index(r.waiting, place)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.keen.Store(int32(len(r.waiting)))
	}
	r.mu.Unlock()
	if i < 0 {
		r.tell()
	}
}

// tell tells the one who has waited longest that there is a place, and reports false if nobody waits.
func (r *room) tell() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return false
	}
	r.waiting[0] <- struct{}{}
	r.waiting = slices.Delete(r.waiting, 0, 1)
	r.keen.Store(int32(len(r.waiting)))
	return true
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, place := range r.waiting {
		close(place)
	}
	r.waiting = nil
	r.keen.Store(0)
}

// tellRoom tells somebody that the shard has a place.
func (s *shard[T, R]) tellRoom() {
	if s.room.keen.Load() > 0 && s.room.tell() || s.common.keen.Load() == 0 {
		return
	}
	s.common.tell()
}
