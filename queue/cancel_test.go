package queue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func TestTicket_CancelWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Shards: 1, ShardCapacity: 2, Concurrency: 1})
		stop := run(q)
		mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		synctest.Wait()
		byTicket := mustSubmit(t, q, queue.Job[time.Duration]{Key: "k"})
		byID := mustSubmit(t, q, queue.Job[time.Duration]{ID: "id", Key: "k"})
		_, err := q.Submit(t.Context(), queue.Job[time.Duration]{})
		require.ErrorIs(t, err, queue.ErrFull)

		require.True(t, byTicket.Cancel())
		require.False(t, byTicket.Cancel(), "once is enough")
		require.True(t, q.Cancel("id"))
		require.False(t, q.Cancel("id"))
		require.False(t, q.Cancel(""))
		for _, ticket := range []*queue.Ticket[string]{byTicket, byID} {
			_, err := ticket.Wait(t.Context())
			require.ErrorIs(t, err, queue.ErrCancelled)
		}
		require.Zero(t, q.Len())
		again := mustSubmit(t, q, queue.Job[time.Duration]{ID: "id", Key: "k"})
		require.NotSame(t, byID, again)
		mustSubmit(t, q, queue.Job[time.Duration]{})
		_, err = q.Submit(t.Context(), queue.Job[time.Duration]{})
		require.ErrorIs(t, err, queue.ErrFull, "there is as much room as before, and no more")
		_, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, stop())
		stats := q.Stats()
		require.EqualValues(t, 2, stats.Cancelled)
		require.EqualValues(t, 3, stats.Done)
		require.Zero(t, stats.Waiting+stats.Active)
	})
}

func TestTicket_CancelRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Retry: queue.Retry{Attempts: 5}})
		stop := run(q)
		ticket := mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Hour})
		other := mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		synctest.Wait()
		require.True(t, ticket.Cancel())
		_, err := ticket.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrCancelled, "the sleeper returns the cause of its context")
		_, err = other.Wait(t.Context())
		require.NoError(t, err, "nobody else's business")
		require.False(t, ticket.Cancel())
		require.EqualValues(t, 1, q.Stats().Cancelled)
		require.Zero(t, q.Stats().Retried)
		require.NoError(t, stop())
	})
}

func TestTicket_CancelDeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		q := newQueue(t, func(_ context.Context, task *queue.Task[error]) (int, error) {
			<-time.After(time.Second)
			return 7, task.Payload
		}, queue.Config{})
		stop := run(q)
		succeeds, fails := mustSubmit(t, q, queue.Job[error]{}), mustSubmit(t, q, queue.Job[error]{Payload: boom})
		synctest.Wait()
		require.True(t, succeeds.Cancel())
		require.True(t, fails.Cancel())
		result, err := succeeds.Wait(t.Context())
		require.NoError(t, err, "what was done is done")
		require.Equal(t, 7, result)
		_, err = fails.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrCancelled)
		require.ErrorIs(t, err, boom)
		require.NoError(t, stop())
		require.EqualValues(t, 1, q.Stats().Done)
		require.EqualValues(t, 1, q.Stats().Cancelled)
	})
}

// A handler that has the queue cancel its own task sees that in its context.
func TestQueue_HandlerCancelsItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var q *queue.Queue[int, int]
		q = newQueue(t, func(ctx context.Context, task *queue.Task[int]) (int, error) {
			if !q.Cancel(task.ID) || ctx.Err() == nil {
				return 0, nil
			}
			return 0, context.Cause(ctx)
		}, queue.Config{})
		stop := run(q)
		_, err := mustSubmit(t, q, queue.Job[int]{ID: "self"}).Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrCancelled)
		require.NoError(t, stop())
	})
}

func TestJob_Deadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen time.Time
		q := newQueue(t, func(ctx context.Context, task *queue.Task[time.Duration]) (string, error) {
			if task.Payload > time.Hour {
				seen, _ = ctx.Deadline()
			}
			return sleeper(ctx, task)
		}, queue.Config{Concurrency: 1, Retry: queue.Retry{Attempts: 3}})
		_, err := q.Submit(t.Context(), queue.Job[time.Duration]{Deadline: time.Now()})
		require.ErrorIs(t, err, queue.ErrExpired)
		stop := run(q)
		begin := time.Now()
		runs := mustSubmit(t, q, queue.Job[time.Duration]{Payload: 2 * time.Hour, Deadline: begin.Add(time.Minute)})
		synctest.Wait()
		waits := mustSubmit(t, q, queue.Job[time.Duration]{ID: "waits", Deadline: begin.Add(10 * time.Second)})
		later := mustSubmit(t, q, queue.Job[time.Duration]{Deadline: begin.Add(time.Hour)})
		_, err = waits.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrExpired)
		require.Equal(t, 10*time.Second, time.Since(begin), "it isn't left waiting behind others")
		_, err = runs.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrExpired)
		require.Equal(t, time.Minute, time.Since(begin))
		require.True(t, seen.Equal(begin.Add(time.Minute)))
		_, err = later.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, stop())
		stats := q.Stats()
		require.EqualValues(t, 2, stats.Expired)
		require.EqualValues(t, 1, stats.Done)
		require.Zero(t, stats.Retried)
	})
}

// A context that nobody has looked at behaves as any other once somebody does, and also when the task is over.
func TestQueue_ContextOfATask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var kept context.Context
		q := newQueue(t, func(ctx context.Context, task *queue.Task[int]) (bool, error) {
			kept = ctx //nolint:fatcontext // on purpose: what becomes of it later
			if task.Payload == 0 {
				return true, nil
			}
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-child.Done()
			return false, context.Cause(child)
		}, queue.Config{})
		stop := run(q)
		_, err := mustSubmit(t, q, queue.Job[int]{}).Wait(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, kept.Err(), context.Canceled, "the task is over")
		<-kept.Done()
		ticket := mustSubmit(t, q, queue.Job[int]{Payload: 1})
		synctest.Wait()
		require.NoError(t, kept.Err())
		require.True(t, ticket.Cancel())
		_, err = ticket.Wait(t.Context())
		require.ErrorIs(t, err, queue.ErrCancelled)
		require.NoError(t, stop())
	})
}
