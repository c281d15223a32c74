package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		s := q.shards[full.Shard]
		room := s.queueForRoom()
		if ticket, err := q.Submit(ctx, job); !errors.Is(err, ErrFull) { // there was room before we stood in line for it
			s.leaveRoom(room)
			return ticket, err
		}
		select {
		case <-room:
		case <-ctx.Done():
			s.leaveRoom(room)
			return nil, fmt.Errorf("queue: waiting for room: %w", context.Cause(ctx))
		}
	}
}

// queueForRoom returns a channel that tells of one place that has become free, or is closed when the shard is.
func (s *shard[T, R]) queueForRoom() chan struct{} {
	s.in.Lock()
	defer s.in.Unlock()
	room := make(chan struct{}, 1)
	if s.in.closed {
		close(room)
		return room
	}
	s.in.room = append(s.in.room, room)
	s.keen.Store(int32(len(s.in.room)))
	return room
}

// leaveRoom has the next one told of the place if we have been told, and don't need it.
func (s *shard[T, R]) leaveRoom(room chan struct{}) {
	s.in.Lock()
	i := slices.Index(s.in.room, room)
	if i >= 0 {
		s.in.room = slices.Delete(s.in.room, i, i+1)
		s.keen.Store(int32(len(s.in.room)))
	}
	s.in.Unlock()
	if i < 0 {
		s.tellRoom()
	}
}

// tellRoom tells the one who has waited longest that there is a place.
func (s *shard[T, R]) tellRoom() {
	if s.keen.Load() == 0 {
		return
	}
	s.in.Lock()
	defer s.in.Unlock()
	if len(s.in.room) > 0 {
		s.in.room[0] <- struct{}{}
		s.in.room = slices.Delete(s.in.room, 0, 1)
		s.keen.Store(int32(len(s.in.room)))
	}
}
