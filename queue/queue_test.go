package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// start runs a queue until the test ends, and requires a clean drain.
func start[T, R any](tb testing.TB, handler func(context.Context, *queue.Task[T]) (R, error), cfg queue.Config) *queue.Queue[T, R] {
	tb.Helper()
	q := newQueue(tb, handler, cfg)
	stop := run(q)
	tb.Cleanup(func() { require.NoError(tb, stop()) })
	return q
}

// newQueue returns a queue that isn't run yet, and is silent unless cfg says otherwise.
func newQueue[T, R any](tb testing.TB, handler func(context.Context, *queue.Task[T]) (R, error), cfg queue.Config) *queue.Queue[T, R] {
	tb.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	q, err := queue.New(handler, cfg)
	require.NoError(tb, err)
	return q
}

// run starts Run and returns what ends its context and waits for its error.
func run[T, R any](q *queue.Queue[T, R]) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { err = q.Run(ctx) })
	return func() error {
		cancel()
		wg.Wait()
		return err
	}
}

// workersAlive counts the queue's goroutines in the synctest bubble of the caller.
func workersAlive(t *testing.T) int {
	t.Helper()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	goroutines := strings.Split(string(stacks), "\n\n")
	_, bubble, found := strings.Cut(strings.SplitN(goroutines[0], "\n", 2)[0], "synctest bubble ")
	require.True(t, found, "called outside of a bubble")
	n := 0
	for _, g := range goroutines {
		header, _, _ := strings.Cut(g, "\n")
		if strings.HasSuffix(header, "synctest bubble "+bubble) && strings.Contains(g, "queue.(*worker") {
			n++
		}
	}
	return n
}

func echo(_ context.Context, t *queue.Task[int]) (int, error) { return t.Payload, nil }

func TestNew_RefusesConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  queue.Config
		want []string
	}{
		"negative": {
			queue.Config{Shards: -1, ShardCapacity: -2, Concurrency: -3},
			[]string{
				"queue: Config.Shards is -1: want 1 to 1024, or 0 for 4",
				"queue: Config.ShardCapacity is -2: want 1 to 100000000, or 0 for 100000",
				"queue: Config.Concurrency is -3: want 1 to 1000000, or 0 for 4000",
			},
		},
		"absurd": {
			queue.Config{Shards: 1_025, ShardCapacity: 100_000_001, Concurrency: 1_000_001, DrainTimeout: 25 * time.Hour},
			[]string{
				"queue: Config.Shards is 1025", "queue: Config.ShardCapacity is 100000001", "queue: Config.Concurrency is 1000001",
				"queue: Config.DrainTimeout is 25h0m0s: want up to 24h, 0 for 30s, or less than 0 for none",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := queue.New[int, int](nil, tc.cfg)
			require.ErrorContains(t, err, "queue: handler is nil")
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestNew_AcceptsConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg      queue.Config
		capacity int
	}{
		"zero":     {queue.Config{}, 400_000},
		"smallest": {queue.Config{Shards: 1, ShardCapacity: 1, Concurrency: 1, DrainTimeout: -1}, 1},
		"largest": {
			queue.Config{Shards: 4, ShardCapacity: 100_000_000, Concurrency: 1_000_000, DrainTimeout: 24 * time.Hour},
			400_000_000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, err := queue.New(echo, tc.cfg)
			require.NoError(t, err)
			require.Equal(t, tc.capacity, q.Stats().Capacity)
		})
	}
}

func TestQueue_AcceptsBeforeRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, echo, queue.Config{})
		ticket, err := q.Submit(t.Context(), queue.Job[int]{Payload: 7})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, q.Len())
		require.Zero(t, workersAlive(t))

		stop := run(q)
		result, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 7, result)
		require.NoError(t, stop())
	})
}

func TestQueue_HandsOverTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var got queue.Task[string]
		q := newQueue(t, func(_ context.Context, task *queue.Task[string]) (int, error) {
			got = *task
			return 0, nil
		}, queue.Config{})
		ticket, err := q.Submit(t.Context(), queue.Job[string]{ID: "id", Key: "key", Payload: "payload"})
		require.NoError(t, err)
		<-time.After(time.Minute)
		stop := run(q)
		<-ticket.Done()
		require.Equal(t, queue.Job[string]{ID: "id", Key: "key", Payload: "payload"}, got.Job)
		require.True(t, begin.Equal(got.Queued), "queued at %s, not %s", begin, got.Queued)
		require.NoError(t, stop())
	})
}

func TestQueue_KeyChoosesTheShard(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 8})
	for range 50 {
		require.NoError(t, q.Go(queue.Job[int]{Key: "k"}))
	}
	require.Contains(t, q.Stats().Depths, 50)
	for i := range 800 {
		require.NoError(t, q.Go(queue.Job[int]{Key: strings.Repeat("x", i+1)}))
	}
	require.NotContains(t, q.Stats().Depths, 0)
}

func TestQueue_AnonymousJobsUseAllRoom(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 3, ShardCapacity: 4})
	for range 4 { // one shard is full
		require.NoError(t, q.Go(queue.Job[int]{Key: "k"}))
	}
	require.ErrorIs(t, q.Go(queue.Job[int]{Key: "k"}), queue.ErrFull)
	for range 8 {
		require.NoError(t, q.Go(queue.Job[int]{}))
	}
	require.ErrorIs(t, q.Go(queue.Job[int]{}), queue.ErrFull)
	require.Equal(t, []int{4, 4, 4}, q.Stats().Depths)
}

func TestQueue_RoundRobin(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 4})
	for range 40 {
		mustSubmit(t, q, queue.Job[int]{})
	}
	require.Equal(t, []int{10, 10, 10, 10}, q.Stats().Depths)
	for range 4000 {
		require.NoError(t, q.Go(queue.Job[int]{}))
	}
	for _, depth := range q.Stats().Depths { // each processor goes round by itself, in turns of 16
		require.InDelta(t, 1010, depth, 100)
	}
}

func TestQueue_SubmitAfterContextEnded(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{})
	cause := errors.New("the client has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := q.Submit(ctx, queue.Job[int]{})
	require.ErrorIs(t, err, cause)
	require.Zero(t, q.Len())
}

func TestQueue_SecondRun(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{})
	stop := run(q)
	_, err := mustSubmit(t, q, queue.Job[int]{}).Wait(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, q.Run(t.Context()), "once")
	require.NoError(t, stop())
	require.ErrorContains(t, q.Run(t.Context()), "once")
}

func TestQueue_SameIDWhileUnfinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		calls := 0
		q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
			calls++
			<-gate
			task.ID = "a handler may write to its copy"
			return task.Payload, nil
		}, queue.Config{})
		first := mustSubmit(t, q, queue.Job[int]{ID: "a", Payload: 1})
		require.Same(t, first, mustSubmit(t, q, queue.Job[int]{ID: "a", Key: "another shard", Payload: 2}), "while it waits")
		stop := run(q)
		synctest.Wait()
		require.Same(t, first, mustSubmit(t, q, queue.Job[int]{ID: "a", Payload: 3}), "while it runs")
		require.NoError(t, q.Go(queue.Job[int]{ID: "a"}))
		require.EqualValues(t, 3, q.Stats().Duplicates)

		close(gate)
		result, err := first.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, result)

		second := mustSubmit(t, q, queue.Job[int]{ID: "a", Payload: 4})
		require.NotSame(t, first, second)
		result, err = second.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 4, result)
		require.Equal(t, 2, calls)
		require.NoError(t, stop())
	})
}

func TestQueue_TicketForAJobThatHadNone(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{})
	require.NoError(t, q.Go(queue.Job[int]{ID: "a", Payload: 5}))
	ticket := mustSubmit(t, q, queue.Job[int]{ID: "a"})
	stop := run(q)
	result, err := ticket.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, result)
	require.NoError(t, stop())
}

func TestQueue_RefusedIDIsFree(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 1, ShardCapacity: 1})
	require.NoError(t, q.Go(queue.Job[int]{}))
	_, err := q.Submit(t.Context(), queue.Job[int]{ID: "a"})
	require.ErrorIs(t, err, queue.ErrFull)
	stop := run(q)
	require.Eventually(t, func() bool { return q.Stats().Done == 1 }, time.Minute, time.Millisecond)
	result, err := mustSubmit(t, q, queue.Job[int]{ID: "a", Payload: 9}).Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, 9, result)
	require.NoError(t, stop())
}

func TestTicket_WaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, func(context.Context, *queue.Task[int]) (int, error) {
			<-time.After(time.Hour)
			return 1, nil
		}, queue.Config{DrainTimeout: 2 * time.Hour})
		stop := run(q)
		ticket := mustSubmit(t, q, queue.Job[int]{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := ticket.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		result, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, result)
		result, err = ticket.Wait(ctx)
		require.NoError(t, err, "an outcome that is there goes before a context that has ended")
		require.Equal(t, 1, result)
		require.NoError(t, stop())
	})
}

func TestTicket_ManyWaiters(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{})
	ticket := mustSubmit(t, q, queue.Job[int]{Payload: 3})
	results := make([]int, 10)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i], _ = ticket.Wait(t.Context()) })
	}
	stop := run(q)
	wg.Wait()
	for _, r := range results {
		require.Equal(t, 3, r)
	}
	require.NoError(t, stop())
}

func TestStats_JSON(t *testing.T) {
	t.Parallel()
	q := newQueue(t, echo, queue.Config{Shards: 2, ShardCapacity: 1})
	require.NoError(t, q.Go(queue.Job[int]{}))
	require.NoError(t, q.Go(queue.Job[int]{}))
	require.ErrorIs(t, q.Go(queue.Job[int]{}), queue.ErrFull)
	text, err := json.Marshal(q.Stats())
	require.NoError(t, err)
	require.JSONEq(t, `{"waiting":2, "active":0, "done":0, "failed":0, "cancelled":0, "expired":0, "superseded":0, "not_run":0,
		"refused":1, "duplicates":0, "retried":0, "stuck":0, "depths":[1,1], "capacity":2, "concurrency":4000, "paused":false,
		"utilisation":0, "efficiency":0, "retry_after_seconds":1,
		"wait":{"p50_seconds":0, "p95_seconds":0, "p99_seconds":0}, "run":{"p50_seconds":0, "p95_seconds":0, "p99_seconds":0}}`, string(text))
}

// testPatience and testTurn are for what happens in real time.
const (
	testPatience = time.Minute
	testTurn     = time.Millisecond
)

func mustSubmit[T, R any](t *testing.T, q *queue.Queue[T, R], job queue.Job[T]) *queue.Ticket[R] {
	t.Helper()
	ticket, err := q.Submit(t.Context(), job)
	require.NoError(t, err)
	return ticket
}
