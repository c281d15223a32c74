package queue_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func TestQueue_HandlerFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		handler func() (int, error)
		want    error
		panics  bool
	}{
		"error":           {func() (int, error) { return 0, boom }, boom, false},
		"panic":           {func() (int, error) { panic("a string") }, nil, true},
		"panic of error":  {func() (int, error) { panic(io.ErrUnexpectedEOF) }, io.ErrUnexpectedEOF, true},
		"panic of nil":    {func() (int, error) { panic(nil) }, nil, true}, //nolint:govet // what nobody should write
		"Goexit":          {func() (int, error) { runtime.Goexit(); return 0, nil }, queue.ErrGoexit, false},
		"Goexit by defer": {func() (int, error) { defer runtime.Goexit(); panic("gone") }, queue.ErrGoexit, false},
	} {
		for mode, job := range map[string]queue.Job[bool]{"anonymous": {Payload: true}, "id": {ID: "a", Payload: true}} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				q := start(t, func(_ context.Context, task *queue.Task[bool]) (int, error) {
					if task.Payload {
						return tc.handler()
					}
					return 1, nil
				}, queue.Config{Concurrency: 1})
				for i := range 3 { // a slot lost would be missed: there is only one
					_, err := mustSubmit(t, q, job).Wait(t.Context())
					require.Error(t, err)
					if tc.want != nil {
						require.ErrorIs(t, err, tc.want)
					}
					panicked, ok := errors.AsType[*queue.PanicError](err)
					require.Equal(t, tc.panics, ok)
					if ok {
						require.Contains(t, string(panicked.Stack), "TestQueue_HandlerFails")
					}
					require.EqualValues(t, i+1, q.Stats().Failed)
				}
				result, err := mustSubmit(t, q, queue.Job[bool]{ID: job.ID}).Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, result)
				require.Zero(t, q.Stats().Active)
			})
		}
	}
}

func TestQueue_LogsPanicsAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		q := newQueue(t, func(context.Context, *queue.Task[int]) (int, error) { panic("boom") },
			queue.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		stop := run(q)
		for range 3 {
			_, err := mustSubmit(t, q, queue.Job[int]{ID: "job-7"}).Wait(t.Context())
			require.Error(t, err)
		}
		require.Equal(t, 1, strings.Count(log.String(), "handler panicked"))
		require.Contains(t, log.String(), "level=ERROR")
		require.Contains(t, log.String(), "id=job-7 panic=boom suppressed=0")
		<-time.After(time.Second)
		require.NoError(t, q.Go(queue.Job[int]{}))
		synctest.Wait()
		require.Contains(t, log.String(), "suppressed=2")
		require.NoError(t, stop())
	})
}

func TestQueue_HandlerSubmitsToItsOwnFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var q *queue.Queue[int, int]
		var full, accepted atomic.Int64
		q = newQueue(t, func(ctx context.Context, task *queue.Task[int]) (int, error) {
			for range task.Payload {
				switch _, err := q.Submit(ctx, queue.Job[int]{}); {
				case errors.Is(err, queue.ErrFull):
					full.Add(1)
				case err == nil:
					accepted.Add(1)
				}
			}
			return 0, nil
		}, queue.Config{Shards: 1, ShardCapacity: 3, Concurrency: 1})
		stop := run(q)
		_, err := mustSubmit(t, q, queue.Job[int]{Payload: 10}).Wait(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, accepted.Load())
		require.EqualValues(t, 7, full.Load())
		require.NoError(t, stop())
		require.EqualValues(t, 4, q.Stats().Done)
	})
}

func TestQueue_HandlerSubmitsWhileDraining(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var q *queue.Queue[int, int]
		q = newQueue(t, func(ctx context.Context, _ *queue.Task[int]) (int, error) {
			<-time.After(time.Second)
			_, err := q.Submit(ctx, queue.Job[int]{})
			return 0, err
		}, queue.Config{})
		ticket := mustSubmit(t, q, queue.Job[int]{})
		require.NoError(t, run(q)())
		_, err := ticket.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrClosed)
	})
}
