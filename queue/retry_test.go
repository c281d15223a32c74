package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

var errFlaky = errors.New("flaky")

// failing fails as often as the payload says.
func failing(_ context.Context, task *queue.Task[int]) (int, error) {
	if task.Attempt <= task.Payload {
		return 0, fmt.Errorf("attempt %d: %w", task.Attempt, errFlaky)
	}
	return task.Attempt, nil
}

func TestRetry_UntilItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, failing, queue.Config{Concurrency: 1, Retry: queue.Retry{Attempts: 4, MinBackoff: time.Second}})
		stop := run(q)
		begin := time.Now()
		flaky := mustSubmit(t, q, queue.Job[int]{ID: "flaky", Payload: 3})
		hopeless := mustSubmit(t, q, queue.Job[int]{Payload: 10})
		once := mustSubmit(t, q, queue.Job[int]{Payload: 10, Attempts: 1})
		many := mustSubmit(t, q, queue.Job[int]{Payload: 6, Attempts: 7})
		require.NoError(t, q.Go(queue.Job[int]{Payload: 2}))
		synctest.Wait()
		require.Equal(t, 4, q.Stats().Waiting, "they keep their places")
		require.Zero(t, q.Stats().Active, "but no worker")
		require.Zero(t, workersAlive(t))

		result, err := flaky.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 4, result)
		took := time.Since(begin)
		require.LessOrEqual(t, took, 7*time.Second, "1 s, 2 s, 4 s")
		require.Greater(t, took, 5*time.Second, "less a quarter at most")
		_, err = hopeless.Wait(t.Context())
		require.ErrorIs(t, err, errFlaky)
		require.ErrorContains(t, err, "attempt 4")
		_, err = once.Wait(t.Context())
		require.ErrorContains(t, err, "attempt 1")
		result, err = many.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 7, result)
		require.NoError(t, stop())
		stats := q.Stats()
		require.EqualValues(t, 3, stats.Done)
		require.EqualValues(t, 2, stats.Failed)
		require.EqualValues(t, 3+3+6+2, stats.Retried)
		require.Zero(t, stats.Waiting+stats.Active)
	})
}

func TestRetry_NeverPermanentErrors(t *testing.T) {
	t.Parallel()
	q := start(t, func(context.Context, *queue.Task[int]) (int, error) {
		return 0, fmt.Errorf("wrapped: %w", queue.Permanent(errFlaky))
	}, queue.Config{Retry: queue.Retry{Attempts: 5}})
	_, err := mustSubmit(t, q, queue.Job[int]{}).Wait(t.Context())
	require.ErrorIs(t, err, errFlaky)
	require.True(t, queue.IsPermanent(err))
	require.False(t, queue.IsPermanent(errFlaky))
	require.NoError(t, queue.Permanent(nil))
	require.Zero(t, q.Stats().Retried)
}

func TestRetry_PanicsAndGoexits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
			if task.Attempt == 1 {
				panic("boom")
			}
			return 1, nil
		}, queue.Config{Retry: queue.Retry{Attempts: 2}, Concurrency: 1})
		stop := run(q)
		_, err := mustSubmit(t, q, queue.Job[int]{}).Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, stop())
		require.Zero(t, workersAlive(t))
	})
}

func TestRetry_KeepsTheOrderOfItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order []int
		q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
			order = append(order, task.Payload)
			if task.Attempt == 1 {
				return 0, errFlaky
			}
			return 0, nil
		}, queue.Config{Retry: queue.Retry{Attempts: 2}})
		for i := range 3 {
			require.NoError(t, q.Go(queue.Job[int]{Key: "k", Payload: i}))
		}
		require.NoError(t, run(q)())
		require.Equal(t, []int{0, 0, 1, 1, 2, 2}, order)
	})
}

func TestRetry_CancelledBetweenAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, failing, queue.Config{Retry: queue.Retry{Attempts: 3, MinBackoff: time.Hour, MaxBackoff: time.Hour}})
		stop := run(q)
		ticket := mustSubmit(t, q, queue.Job[int]{Key: "k", Payload: 3})
		next := mustSubmit(t, q, queue.Job[int]{Key: "k"})
		limited := mustSubmit(t, q, queue.Job[int]{Payload: 3, Deadline: time.Now().Add(time.Minute)})
		synctest.Wait()
		require.True(t, ticket.Cancel())
		_, err := ticket.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrCancelled)
		_, err = next.Wait(t.Context())
		require.NoError(t, err, "its key's turn goes on")
		_, err = limited.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrExpired)
		require.Zero(t, q.Len())
		require.NoError(t, stop())
	})
}

func TestRetry_DroppedByADrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, failing, queue.Config{DrainTimeout: time.Second, Retry: queue.Retry{Attempts: 3, MinBackoff: time.Hour, MaxBackoff: time.Hour}})
		ticket := mustSubmit(t, q, queue.Job[int]{Key: "k", Payload: 3})
		behind := mustSubmit(t, q, queue.Job[int]{Key: "k"})
		require.Equal(t, &queue.DrainError{Timeout: time.Second, NotRun: 2}, run(q)())
		for _, ticket := range []*queue.Ticket[int]{ticket, behind} {
			_, err := ticket.Wait(t.Context())
			require.ErrorIs(t, err, queue.ErrNotRun)
		}
		require.Zero(t, q.Len())
		require.EqualValues(t, 2, q.Stats().NotRun)
	})
}
