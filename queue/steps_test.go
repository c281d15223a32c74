package queue_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// pipeline is the source's: two steps side by side of 1 s and 2.5 s, joined in a third.
func pipeline(calls *sync.Map) func(context.Context, *queue.Task[int]) (int, error) {
	return func(ctx context.Context, t *queue.Task[int]) (sum int, err error) {
		var one, two int
		err = queue.Together(ctx,
			func(ctx context.Context) (err error) {
				one, err = queue.Step(ctx, t, "step1", func(context.Context) (int, error) {
					<-time.After(time.Second)
					count(calls, "step1")
					return t.Payload + 1, nil
				})
				return err
			},
			func(ctx context.Context) (err error) {
				two, err = queue.Step(ctx, t, "step2", func(context.Context) (int, error) {
					<-time.After(2500 * time.Millisecond)
					count(calls, "step2")
					return t.Payload + 2, nil
				})
				return err
			})
		if err != nil {
			return 0, err
		}
		return queue.Step(ctx, t, "join", func(context.Context) (int, error) {
			count(calls, "join")
			if t.Attempt == 1 {
				return 0, errFlaky
			}
			return one + two, nil
		})
	}
}

func count(calls *sync.Map, step string) {
	n, _ := calls.LoadOrStore(step, new(atomic.Int32))
	n.(*atomic.Int32).Add(1)
}

func TestStep_RecordedAndSkippedOnRetry(t *testing.T) {
	t.Parallel()
	for name, ticket := range map[string]bool{"Submit": true, "Go": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := new(sync.Map)
				q := newQueue(t, pipeline(calls), queue.Config{Retry: queue.Retry{Attempts: 2}})
				stop := run(q)
				begin := time.Now()
				if !ticket {
					require.NoError(t, q.Go(queue.Job[int]{Payload: 10}))
				} else {
					ticket := mustSubmit(t, q, queue.Job[int]{Payload: 10})
					require.Empty(t, ticket.Steps())
					<-time.After(2 * time.Second)
					require.Len(t, ticket.Steps(), 1, "steps are seen while the task runs")
					sum, err := ticket.Wait(t.Context())
					require.NoError(t, err)
					require.Equal(t, 23, sum)
					require.Less(t, time.Since(begin), 4*time.Second, "side by side, and not again after the failure")
					second := begin.Add(2500 * time.Millisecond)
					steps := ticket.Steps()
					require.True(t, steps[3].Started.After(second))
					steps[3].Started = second
					require.Equal(t, []queue.StepRecord{
						{Name: "step1", Attempt: 1, Started: begin, Took: time.Second, Result: []byte("11")},
						{Name: "step2", Attempt: 1, Started: begin, Took: 2500 * time.Millisecond, Result: []byte("12")},
						{Name: "join", Attempt: 1, Started: second, Error: "flaky"},
						{Name: "join", Attempt: 2, Started: second, Result: []byte("23")},
					}, steps)
				}
				require.NoError(t, stop())
				for step, want := range map[string]int{"step1": 1, "step2": 1, "join": 2} {
					n, _ := calls.Load(step)
					require.EqualValues(t, want, n.(*atomic.Int32).Load(), step)
				}
			})
		})
	}
}

func TestStep_Fails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		step func(context.Context) (any, error)
		want string
	}{
		"panic":                {func(context.Context) (any, error) { panic("boom") }, "queue: handler panicked: boom"},
		"error":                {func(context.Context) (any, error) { return nil, errFlaky }, "flaky"},
		"what JSON can't hold": {func(context.Context) (any, error) { return func() {}, nil }, "json: unsupported type: func()"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := start(t, func(ctx context.Context, task *queue.Task[int]) (any, error) {
				return queue.Step(ctx, task, "s", tc.step)
			}, queue.Config{})
			ticket := mustSubmit(t, q, queue.Job[int]{})
			_, err := ticket.Wait(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, tc.want, ticket.Steps()[0].Error)
		})
	}
}

func TestTogether_StopsTheOthersAndIsolatesPanics(t *testing.T) {
	t.Parallel()
	err := queue.Together(t.Context(),
		func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		func(context.Context) error { panic("boom") },
		func(context.Context) error { runtime.Goexit(); return nil },
		func(context.Context) error { return nil })
	require.ErrorContains(t, err, "boom")
	require.ErrorIs(t, err, queue.ErrGoexit)
	panicked, ok := errors.AsType[*queue.PanicError](err)
	require.True(t, ok)
	require.Contains(t, string(panicked.Stack), "TestTogether")
}

func TestStep_ThatFailedAtFirstIsDoneOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := 0
		q := newQueue(t, func(ctx context.Context, task *queue.Task[int]) (int, error) {
			_, err := queue.Step(ctx, task, "pay", func(context.Context) (int, error) {
				if task.Attempt == 1 {
					return 0, errFlaky
				}
				done++
				return done, nil
			})
			if err == nil && task.Attempt < 4 {
				err = errFlaky
			}
			return done, err
		}, queue.Config{Retry: queue.Retry{Attempts: 4}})
		stop := run(q)
		_, err := mustSubmit(t, q, queue.Job[int]{}).Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, done)
		require.NoError(t, stop())
	})
}
