package queue_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// refusal fills the queue and returns what the next job is told.
func refusal(t *testing.T, q *queue.Queue[time.Duration, string], payload time.Duration) *queue.FullError {
	t.Helper()
	for {
		err := q.Go(queue.Job[time.Duration]{Payload: payload})
		if err == nil {
			continue
		}
		require.ErrorIs(t, err, queue.ErrFull)
		full, ok := errors.AsType[*queue.FullError](err)
		require.True(t, ok)
		return full
	}
}

func TestFullError_RetryAfter(t *testing.T) {
	t.Parallel()
	const (
		task     = 100 * time.Millisecond
		capacity = 400
	)
	// Ten handlers of 100 ms finish 100 tasks a second: half of 400 takes 2 s.
	cfg := queue.Config{Shards: 1, ShardCapacity: capacity, Concurrency: 10}
	for name, tc := range map[string]struct {
		cfg  queue.Config
		task time.Duration
		wait time.Duration // between filling the queue and asking
		want time.Duration
	}{
		"nothing measured yet":  {cfg, task, 0, time.Second},
		"one round measured":    {cfg, task, 110 * time.Millisecond, 2 * time.Second},
		"many rounds":           {cfg, task, 5 * time.Second, 2 * time.Second},
		"more than is kept":     {cfg, task, time.Minute, 2 * time.Second},
		"slow handlers":         {queue.Config{Shards: 1, ShardCapacity: 40, Concurrency: 10}, 3500 * time.Millisecond, 20 * time.Second, 7 * time.Second},
		"stuck for a while":     {cfg, 24 * time.Hour, 10 * time.Second, 10 * time.Second},
		"stuck for long":        {cfg, 24 * time.Hour, 3 * time.Minute, time.Minute},
		"slow: the cap":         {cfg, 10 * time.Second, 25 * time.Second, time.Minute},
		"fast: the floor":       {queue.Config{Shards: 1, ShardCapacity: 15, Concurrency: 10}, task, time.Second, 100 * time.Millisecond},
		"idle time is no speed": {cfg, task, -time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t, sleeper, tc.cfg)
				stop := run(q)
				if tc.wait < 0 { // idle first
					require.NoError(t, q.Go(queue.Job[time.Duration]{}))
					<-time.After(-tc.wait)
				}
				_ = refusal(t, q, tc.task)
				synctest.Wait() // until each worker has taken a job
				full := refusal(t, q, tc.task)
				if tc.wait > 0 {
					for end := time.Now().Add(tc.wait); time.Now().Before(end); {
						<-time.After(10 * time.Millisecond)
						synctest.Wait()
						full = refusal(t, q, tc.task)
					}
				}
				require.InDelta(t, tc.want.Seconds(), full.RetryAfter.Seconds(), 0.25*tc.want.Seconds())
				require.Equal(t, tc.cfg.ShardCapacity, full.Depth)
				require.Zero(t, full.Shard)
				require.InDelta(t, full.RetryAfter.Seconds(), q.Stats().RetryAfterSeconds, 1e-9)

				_ = stop()
				require.Zero(t, q.Stats().RetryAfterSeconds)
			})
		})
	}
}

func TestFullError_Text(t *testing.T) {
	t.Parallel()
	err := error(&queue.FullError{Shard: 2, Depth: 100_000, RetryAfter: 1500 * time.Millisecond})
	require.EqualError(t, err, "queue: full: 100000 jobs wait in shard 2: retry after 1.5s")
	require.ErrorIs(t, err, queue.ErrFull)
}
