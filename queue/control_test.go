package queue_test

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func TestQueue_PauseAndResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Concurrency: 3})
		stop := run(q)
		for range 10 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		}
		synctest.Wait()
		q.Pause()
		<-time.After(time.Minute)
		stats := q.Stats()
		require.True(t, stats.Paused)
		require.Equal(t, 7, stats.Waiting, "what runs goes on, nothing else starts")
		require.EqualValues(t, 3, stats.Done)
		require.Zero(t, workersAlive(t))
		mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		q.Pause() // twice is once
		begin := time.Now()
		q.Resume()
		for q.Stats().Done < 11 {
			<-time.After(time.Second)
			synctest.Wait()
		}
		require.Equal(t, 3*time.Second, time.Since(begin))
		require.NoError(t, stop())
	})
}

func TestQueue_PausedDrainLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{})
		stop := run(q)
		running := mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		synctest.Wait()
		q.Pause()
		waiting := mustSubmit(t, q, queue.Job[time.Duration]{ID: "w"})
		require.Equal(t, &queue.DrainError{Timeout: 30 * time.Second, NotRun: 1}, stop())
		_, err := running.Wait(t.Context())
		require.NoError(t, err)
		_, err = waiting.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrNotRun)
	})
}

func TestQueue_Resize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Concurrency: 2})
		require.ErrorContains(t, q.Resize(0), "want 1 to 1000000")
		stop := run(q)
		for range 100 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		}
		active := func(want int) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, want, q.Stats().Active)
		}
		active(2)
		require.NoError(t, q.Resize(10))
		active(10)
		require.NoError(t, q.Resize(3))
		active(10)
		<-time.After(time.Second)
		active(3)
		require.Equal(t, 3, q.Stats().Concurrency)
		q.Pause()
		require.NoError(t, q.Resize(5))
		<-time.After(time.Second)
		active(0)
		q.Resume()
		active(5)
		require.NoError(t, stop())
		require.EqualValues(t, 100, q.Stats().Done)
	})
}

func TestQueue_KeysAreHandledInOrderOneAtATime(t *testing.T) {
	t.Parallel()
	const keys, each = 20, 200
	var running [keys]atomic.Int32
	var got [keys][]int // by key, appended by one handler at a time: the race detector watches
	q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
		key := task.Payload % keys
		if running[key].Add(1) != 1 {
			return 0, context.Canceled
		}
		got[key] = append(got[key], task.Payload/keys)
		if task.Payload%7 == 0 {
			<-time.After(time.Microsecond)
		}
		running[key].Add(-1)
		return 0, nil
	}, queue.Config{})
	stop := run(q)
	want := []int{}
	for i := range each {
		want = append(want, i)
		for k := range keys {
			job := queue.Job[int]{Key: strconv.Itoa(k), Payload: i*keys + k}
			if i%3 == 0 {
				mustSubmit(t, q, job)
			} else {
				require.NoError(t, q.Go(job))
			}
		}
	}
	require.NoError(t, stop())
	require.Zero(t, q.Stats().Failed, "two of one key ran side by side")
	for k := range keys {
		require.Equal(t, want, got[k])
	}
}

func TestQueue_KeysDontWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Shards: 1, Concurrency: 3})
		stop := run(q)
		for range 10 {
			mustSubmit(t, q, queue.Job[time.Duration]{Key: "slow", Payload: time.Hour})
		}
		quick := mustSubmit(t, q, queue.Job[time.Duration]{Key: "quick", Payload: time.Second})
		begin := time.Now()
		_, err := quick.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin))
		stats := q.Stats()
		require.Equal(t, 1, stats.Active)
		require.Equal(t, 9, stats.Waiting)
		require.Error(t, stop())
		require.EqualValues(t, 9, q.Stats().NotRun)
	})
}

func TestQueue_PriorityGoesFirst(t *testing.T) {
	t.Parallel()
	for name, shards := range map[string]int{"one shard": 1, "four shards": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var order []int
			q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
				order = append(order, task.Priority)
				return 0, nil
			}, queue.Config{Shards: shards, Concurrency: 1})
			want := []int{}
			for i := range 200 {
				priority := []int{0, 5, -3, 100, -100}[i%5]
				want = append(want, priority)
				require.NoError(t, q.Go(queue.Job[int]{Priority: priority}))
			}
			require.NoError(t, run(q)())
			slices.Sort(want)
			slices.Reverse(want)
			require.Equal(t, want, order)
		})
	}
	q := newQueue(t, echo, queue.Config{})
	err := q.Go(queue.Job[int]{Priority: 101, Attempts: 1001})
	require.ErrorContains(t, err, "queue: Job.Priority is 101: want -100 to 100")
	require.ErrorContains(t, err, "queue: Job.Attempts is 1001: want 1 to 1000, or 0")
}

func TestQueue_StuckHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{StuckAfter: time.Minute, Concurrency: 2})
		stop := run(q)
		begin := time.Now()
		mustSubmit(t, q, queue.Job[time.Duration]{ID: "slow", Payload: 2 * time.Minute})
		synctest.Wait()
		for range 600 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: 100 * time.Millisecond})
		}
		<-time.After(59 * time.Second)
		require.Empty(t, q.Stuck())
		<-time.After(4 * time.Second)
		stuck := q.Stuck()
		require.Len(t, stuck, 1)
		require.Equal(t, "slow", stuck[0].ID)
		require.True(t, begin.Equal(stuck[0].Queued))
		require.InDelta(t, 63, stuck[0].Running.Seconds(), 2)
		require.Equal(t, 1, q.Stats().Stuck)
		require.Equal(t, 1, q.Stats().Active, "it still has its slot")
		<-time.After(time.Minute)
		require.Zero(t, q.Stats().Stuck)
		require.NoError(t, stop())
	})
}

func TestStats_MeasuresWaitRunAndEfficiency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Concurrency: 10})
		stop := run(q)
		for range 100 {
			require.NoError(t, q.Go(queue.Job[time.Duration]{Payload: 2 * time.Second}))
		}
		<-time.After(21 * time.Second)
		stats := q.Stats()
		require.InDelta(t, 2, stats.Run.P50, 0.08)
		require.InDelta(t, 2, stats.Run.P99, 0.08)
		require.InDelta(t, 8, stats.Wait.P50, 0.3)
		require.InDelta(t, 18, stats.Wait.P99, 0.7)
		require.InDelta(t, 1, stats.Efficiency, 1e-9)
		require.NoError(t, stop())
	})
}
