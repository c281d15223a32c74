package queue_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// sleeper takes as long as its payload says, or until its context ends.
func sleeper(ctx context.Context, t *queue.Task[time.Duration]) (string, error) {
	timer := time.NewTimer(t.Payload)
	defer timer.Stop()
	select {
	case <-timer.C:
		return "slept", nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func TestQueue_DrainFinishesWhatWasAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Concurrency: 2})
		for range 10 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		}
		begin := time.Now()
		require.NoError(t, run(q)())
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Zero(t, workersAlive(t))
		stats := q.Stats()
		require.EqualValues(t, 10, stats.Done)
		require.Zero(t, stats.Waiting+stats.Active)
	})
}

func TestQueue_DrainRefusesNewJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- q.Run(ctx) }()
		first := mustSubmit(t, q, queue.Job[time.Duration]{ID: "a", Payload: time.Second})
		cancel()
		synctest.Wait()
		_, err := q.Submit(t.Context(), queue.Job[time.Duration]{})
		require.ErrorIs(t, err, queue.ErrClosed)
		require.ErrorIs(t, q.Go(queue.Job[time.Duration]{Key: "k"}), queue.ErrClosed)
		require.Same(t, first, mustSubmit(t, q, queue.Job[time.Duration]{ID: "a"}), "joins a job that goes on")
		require.NoError(t, <-ended)
		require.ErrorIs(t, q.Go(queue.Job[time.Duration]{ID: "a"}), queue.ErrClosed)
		require.Zero(t, q.Stats().Refused, "closed is not full")
	})
}

func TestQueue_DrainTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		timeout, took time.Duration
	}{
		"default":  {0, 30 * time.Second},
		"set":      {time.Second, time.Second},
		"negative": {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t, sleeper, queue.Config{Concurrency: 2, DrainTimeout: tc.timeout})
				stop := run(q)
				running := []*queue.Ticket[string]{
					mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Hour}),
					mustSubmit(t, q, queue.Job[time.Duration]{ID: "r", Payload: time.Hour}),
				}
				synctest.Wait()
				waiting := []*queue.Ticket[string]{
					mustSubmit(t, q, queue.Job[time.Duration]{}),
					mustSubmit(t, q, queue.Job[time.Duration]{ID: "w"}),
				}
				require.NoError(t, q.Go(queue.Job[time.Duration]{ID: "g"}))

				begin := time.Now()
				err := stop()
				require.Equal(t, tc.took, time.Since(begin))
				require.Zero(t, workersAlive(t))
				require.ErrorIs(t, err, queue.ErrDrainTimeout)
				require.Equal(t, &queue.DrainError{Timeout: tc.took, NotRun: 3, Cancelled: 2}, err)
				for _, ticket := range running {
					_, err := ticket.Wait(t.Context())
					require.ErrorIs(t, err, queue.ErrDrainTimeout)
					require.NotErrorIs(t, err, queue.ErrNotRun)
				}
				for _, ticket := range waiting {
					_, err := ticket.Wait(t.Context())
					require.ErrorIs(t, err, queue.ErrNotRun)
				}
				stats := q.Stats()
				require.EqualValues(t, 3, stats.NotRun)
				require.EqualValues(t, 2, stats.Failed)
				require.Zero(t, stats.Waiting+stats.Active)
			})
		})
	}
}

func TestQueue_DrainNamesDeafHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var log bytes.Buffer
		q := newQueue(t, func(context.Context, *queue.Task[int]) (int, error) {
			<-gate
			return 8, nil
		}, queue.Config{DrainTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		stop := run(q)
		queued := time.Now()
		ticket := mustSubmit(t, q, queue.Job[int]{ID: "deaf"})
		synctest.Wait()

		err := stop()
		require.Equal(t, 6*time.Second, time.Since(queued), "the timeout and the grace")
		require.ErrorContains(t, err, `1 handlers ignore their context: "deaf" (queued at 2000-01-01T00:00:00Z)`)
		var drain *queue.DrainError
		require.ErrorAs(t, err, &drain)
		require.Len(t, drain.Stuck, 1)
		require.True(t, queued.Equal(drain.Stuck[0].Queued))
		require.Zero(t, drain.Cancelled)
		require.Contains(t, log.String(), `level=WARN msg="queue: drain timed out" not_run=0 cancelled=0 stuck=1`)

		close(gate)
		result, err := ticket.Wait(t.Context())
		require.NoError(t, err, "its ticket is resolved whenever it returns")
		require.Equal(t, 8, result)
		synctest.Wait()
		require.Zero(t, workersAlive(t))
	})
}

func TestQueue_HandlersContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var during error
		q := newQueue(t, func(ctx context.Context, task *queue.Task[time.Duration]) (any, error) {
			_, err := sleeper(ctx, task)
			during = ctx.Err()
			return ctx.Value(key{}), err
		}, queue.Config{})
		ticket := mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		cancel()
		require.NoError(t, q.Run(ctx))
		value, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, during, "draining work isn't cancelled with Run")
		require.Equal(t, "value", value)
	})
}

func TestQueue_IdleHoldsNoGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{})
		stop := run(q)
		for range 1000 {
			require.NoError(t, q.Go(queue.Job[time.Duration]{Payload: time.Second}))
		}
		synctest.Wait()
		require.Equal(t, 1000, q.Stats().Active)
		require.InDelta(t, 0.25, q.Stats().Utilisation, 1e-9)
		<-time.After(2 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1000, q.Stats().Done)
		require.Zero(t, workersAlive(t))
		require.NoError(t, stop())
	})
}
