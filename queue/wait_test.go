package queue_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func TestQueue_SubmitWait(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"anonymous": "", "key": "k"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t, sleeper, queue.Config{Shards: 2, ShardCapacity: 2, Concurrency: 1})
				stop := run(q)
				begin := time.Now()
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						ticket, err := q.SubmitWait(t.Context(), queue.Job[time.Duration]{Key: key, Payload: time.Second})
						require.NoError(t, err)
						_, err = ticket.Wait(t.Context())
						require.NoError(t, err)
					})
				}
				wg.Wait()
				require.Equal(t, 50*time.Second, time.Since(begin), "nobody waits for nothing")
				require.NoError(t, stop())
			})
		})
	}
}

func TestQueue_SubmitWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Shards: 1, ShardCapacity: 1})
		require.NoError(t, q.Go(queue.Job[time.Duration]{}))
		cause := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 2)
		go func() { _, err := q.SubmitWait(ctx, queue.Job[time.Duration]{}); errs <- err }()
		synctest.Wait()
		cancel(cause)
		require.ErrorIs(t, <-errs, cause)
		for range 2 {
			go func() { _, err := q.SubmitWait(t.Context(), queue.Job[time.Duration]{}); errs <- err }()
		}
		synctest.Wait()
		q.Pause() // so that there is no room until it is closed
		require.Error(t, run(q)())
		require.ErrorIs(t, <-errs, queue.ErrClosed)
		require.ErrorIs(t, <-errs, queue.ErrClosed)
	})
}

func TestQueue_CancellingMakesRoomForWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Shards: 1, ShardCapacity: 1})
		first := mustSubmit(t, q, queue.Job[time.Duration]{})
		accepted := make(chan error, 1)
		go func() { _, err := q.SubmitWait(t.Context(), queue.Job[time.Duration]{}); accepted <- err }()
		synctest.Wait()
		require.True(t, first.Cancel())
		require.NoError(t, <-accepted)
		require.NoError(t, run(q)())
	})
}

func TestQueue_SubmitBatch(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 1, ShardCapacity: 3})
	tickets, err := q.SubmitBatch(t.Context(), []queue.Job[int]{{Payload: 1}, {Priority: 101}, {ID: "a", Payload: 2}, {ID: "a"}, {Payload: 3}, {}, {}})
	require.ErrorIs(t, err, queue.ErrFull)
	require.ErrorContains(t, err, "Job.Priority is 101")
	require.Len(t, tickets, 7)
	require.Same(t, tickets[2], tickets[3])
	for i, refused := range []bool{false, true, false, false, false, true, true} {
		require.Equal(t, refused, tickets[i] == nil, i)
	}
	require.NoError(t, run(q)())
	for i, want := range map[int]int{0: 1, 2: 2, 4: 3} {
		result, err := tickets[i].Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, result)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tickets, err = q.SubmitBatch(ctx, make([]queue.Job[int], 2))
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, tickets, 2)
}

func TestQueue_RoundRobinForIDs(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 4, RoundRobin: true})
	for i := range 40 {
		mustSubmit(t, q, queue.Job[int]{ID: string(rune('A' + i))})
	}
	require.Equal(t, []int{10, 10, 10, 10}, q.Stats().Depths)
}
