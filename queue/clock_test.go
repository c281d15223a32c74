package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

// setBefore is t as it was read when the wall clock was off by so much: since then somebody has put it right. The monotonic part stays.
func setBefore(t time.Time, off time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit, 33 of seconds, 30 of nanoseconds
	*wall += uint64(off/time.Second) << 30
	return t
}

func TestSetBefore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	then := setBefore(now, -time.Hour)
	require.Zero(t, then.Sub(now), "on the monotonic clock")
	require.Equal(t, -time.Hour, then.Round(0).Sub(now.Round(0)), "on the wall clock")
}

// TestQueue_DeadlineAcrossAJumpOfTheClock doesn't run in a bubble: there is no monotonic clock in it.
func TestQueue_DeadlineAcrossAJumpOfTheClock(t *testing.T) {
	t.Parallel()
	q := start(t, func(ctx context.Context, task *queue.Task[bool]) (string, error) {
		if task.Payload {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "in time", ctx.Err()
	}, queue.Config{Retry: queue.Retry{Attempts: 3}})

	ticket := mustSubmit(t, q, queue.Job[bool]{Deadline: setBefore(time.Now().Add(time.Minute), -time.Hour)}) // the clock went forward
	result, err := ticket.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "in time", result)

	ticket = mustSubmit(t, q, queue.Job[bool]{Payload: true, Deadline: setBefore(time.Now().Add(50*time.Millisecond), time.Hour)}) // it went back
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = ticket.Wait(ctx)
	require.ErrorIs(t, err, queue.ErrExpired)

	q.Pause()
	ticket = mustSubmit(t, q, queue.Job[bool]{Deadline: setBefore(time.Now().Add(50*time.Millisecond), time.Hour)})
	_, err = ticket.Wait(ctx)
	require.ErrorIs(t, err, queue.ErrExpired, "while it waits, too")
	q.Resume()
	_, err = q.Submit(t.Context(), queue.Job[bool]{Deadline: setBefore(time.Now(), time.Hour)})
	require.ErrorIs(t, err, queue.ErrExpired)
}

// TestTracker_JumpOfTheTrackersClock has leases run out all at once by the tracker's clock, and nobody else to take anything over: all goes on.
func TestTracker_JumpOfTheTrackersClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		jumpy := &jumpy{Memory: &m}
		q := newQueue(t, sleeper, queue.Config{Tracker: jumpy, Concurrency: 2})
		stop := run(q)
		for range 5 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Minute})
		}
		<-time.After(10 * time.Minute)
		require.Greater(t, jumpy.jumps.Load(), int64(10))
		require.EqualValues(t, 5, q.Stats().Done)
		require.Zero(t, q.Stats().Superseded)
		for _, r := range m.Requests() {
			require.Equal(t, queue.StatusCompleted, r.Status)
			require.Equal(t, 1, r.Attempts)
			require.Equal(t, time.Minute, r.Processing)
		}
		require.NoError(t, stop())
	})
}

// jumpy is a tracker whose clock jumps an hour ahead whenever nobody looks.
type jumpy struct {
	*queuetest.Memory
	jumps atomic.Int64
}

func (j *jumpy) Hold(ctx context.Context, name, owner string, d time.Duration) (bool, error) {
	_, err := j.Memory.Hold(ctx, name, owner, d)
	return j.jumps.Add(1) > 1, err
}
