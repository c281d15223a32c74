package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

// TestTracker_RecoversAttempts has a task fail in one process and go on in another: what was tried counts, and how often it may be tried stays.
func TestTracker_RecoversAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		first := newQueue(t, func(context.Context, *queue.Task[int]) (int, error) { return 0, errFlaky }, queue.Config{
			Tracker: &m, DrainTimeout: -1, Retry: queue.Retry{MinBackoff: 10 * time.Second},
		})
		stop := run(first)
		mustSubmit(t, first, queue.Job[int]{ID: "a", Attempts: 4})
		<-time.After(15 * time.Second) // it has failed twice: at once and after 7.5 to 10 seconds
		require.Error(t, stop())
		r := request(t, &m, "a")
		require.Equal(t, []any{queue.StatusQueued, 2, 4}, []any{r.Status, r.Attempts, r.MaxAttempts})

		var attempts []int
		second := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
			require.Equal(t, 4, task.Attempts)
			attempts = append(attempts, task.Attempt)
			return 0, errFlaky
		}, queue.Config{Tracker: &m}) // by itself it would try only once
		stop = run(second)
		<-time.After(time.Minute)
		require.Equal(t, []int{3, 4}, attempts)
		r = request(t, &m, "a")
		require.Equal(t, []any{queue.StatusFailed, 4}, []any{r.Status, r.Attempts})
		require.NoError(t, stop())
	})
}

// TestTracker_AfterTheDrain looks at what is recorded of handlers that return when the drain has given up on them.
func TestTracker_AfterTheDrain(t *testing.T) {
	t.Parallel()
	late := func() { <-time.After(3 * time.Second) } // than the drain, but within its grace
	for name, test := range map[string]struct {
		handler  func(ctx context.Context) error
		attempts int
		status   string
		counted  int
		text     string
	}{
		"done":                      {func(context.Context) error { late(); return nil }, 1, queue.StatusCompleted, 1, ""},
		"failed by itself":          {func(context.Context) error { late(); return errFlaky }, 1, queue.StatusFailed, 1, "flaky"},
		"failed, may try again":     {func(context.Context) error { late(); return errFlaky }, 2, queue.StatusQueued, 1, "flaky"},
		"failed for good":           {func(ctx context.Context) error { <-ctx.Done(); return queue.Permanent(errFlaky) }, 2, queue.StatusFailed, 1, "flaky"},
		"stopped":                   {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 1, queue.StatusQueued, 0, ""},
		"stopped, in its own words": {func(ctx context.Context) error { <-ctx.Done(); return errors.New("signal: killed") }, 1, queue.StatusQueued, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var m queuetest.Memory
				q := newQueue(t, func(ctx context.Context, _ *queue.Task[int]) (int, error) { return 0, test.handler(ctx) },
					queue.Config{Tracker: &m, DrainTimeout: time.Second})
				stop := run(q)
				mustSubmit(t, q, queue.Job[int]{ID: "a", Attempts: test.attempts})
				synctest.Wait()
				require.Error(t, stop())
				r := request(t, &m, "a")
				require.Equal(t, []any{test.status, test.counted, test.text}, []any{r.Status, r.Attempts, r.Error})
			})
		})
	}
}

// keyed leaves jobs to others, and one without a key.
func keyed(t *testing.T, m *queuetest.Memory, n, keys int, each time.Duration) (ids map[string][]string) {
	t.Helper()
	dead := newQueue(t, sleeper, queue.Config{Tracker: m, Owner: "dead"})
	ids = make(map[string][]string)
	for i := range n {
		id, key := fmt.Sprintf("%02d", i), fmt.Sprint(i%keys)
		ids[key] = append(ids[key], id)
		mustSubmit(t, dead, queue.Job[time.Duration]{ID: id, Key: key, Payload: each})
	}
	mustSubmit(t, dead, queue.Job[time.Duration]{ID: "free"})
	require.NoError(t, m.Release(t.Context(), "default", "dead"))
	return ids
}

func TestTracker_TakenOverJobsOfOneKeyKeepTheBound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		jobs, keys int
		each       time.Duration
	}{"slow": {40, 1, 5 * time.Second}, "quick": {1000, 1, 0}, "slow, many keys": {200, 7, 5 * time.Second}, "quick, many keys": {1000, 7, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var m queuetest.Memory
				ids := keyed(t, &m, test.jobs, test.keys, test.each)
				var mu sync.Mutex
				order := make(map[string][]string)
				q := newQueue(t, func(ctx context.Context, task *queue.Task[time.Duration]) (string, error) {
					mu.Lock()
					order[task.Key] = append(order[task.Key], task.ID)
					mu.Unlock()
					return sleeper(ctx, task)
				}, queue.Config{Tracker: &m, Shards: 4, ShardCapacity: 3})
				stop := run(q)
				for q.Stats().Done <= int64(test.jobs) {
					<-time.After(500 * time.Millisecond)
					for _, depth := range q.Stats().Depths {
						require.LessOrEqual(t, depth, 3)
					}
				}
				require.EqualValues(t, test.jobs+1, q.Stats().Tracked.Recovered)
				delete(order, "") // the one without a key
				require.Equal(t, ids, order)
				require.NoError(t, stop())
			})
		})
	}
}

func TestTracker_GuestsCanBeStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		keyed(t, &m, 8, 1, 5*time.Second)
		q := newQueue(t, sleeper, queue.Config{Tracker: &m, Shards: 4, ShardCapacity: 3, DrainTimeout: -1})
		stop := run(q)
		<-time.After(time.Second)
		require.Equal(t, 7, q.Len(), "one runs, three wait, and four are guests elsewhere")
		require.True(t, q.Cancel("06"))
		require.False(t, q.Cancel("06"))
		require.Equal(t, 6, q.Len())
		ticket := mustSubmit(t, q, queue.Job[time.Duration]{ID: "07"})
		require.NoError(t, q.Resize(1))
		require.Equal(t, &queue.DrainError{NotRun: 6, Cancelled: 1}, stop())
		_, err := ticket.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrNotRun)
		require.Equal(t, queue.StatusCancelled, request(t, &m, "06").Status)
		require.Equal(t, queue.StatusQueued, request(t, &m, "07").Status)
		require.Zero(t, q.Len())

		heir := newQueue(t, sleeper, queue.Config{Tracker: &m})
		stop = run(heir)
		<-time.After(time.Minute)
		require.EqualValues(t, 7, heir.Stats().Done)
		require.NoError(t, stop())
	})
}

// TestTracker_HandedOverBeyondTheLimit has the tracker give more than it was asked for, as it may after an answer that was lost.
func TestTracker_HandedOverBeyondTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		dead := newQueue(t, sleeper, queue.Config{Tracker: &m, Owner: "dead"})
		for range 50 {
			mustSubmit(t, dead, queue.Job[time.Duration]{Payload: time.Second})
		}
		require.NoError(t, m.Release(t.Context(), "default", "dead"))
		q := newQueue(t, sleeper, queue.Config{Tracker: &generous{&m}, Shards: 2, ShardCapacity: 4, Concurrency: 2})
		stop := run(q)
		for q.Stats().Done < 50 {
			<-time.After(500 * time.Millisecond)
			require.LessOrEqual(t, q.Len(), 8)
		}
		require.NoError(t, stop())
	})
}

type generous struct{ *queuetest.Memory }

func (g *generous) Unfinished(ctx context.Context, name, owner string, limit int) ([]queue.TrackedRequest, error) {
	return g.Memory.Unfinished(ctx, name, owner, 3*limit)
}
