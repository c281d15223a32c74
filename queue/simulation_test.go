package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
)

// TestQueue_TheSourcesLoad is a million requests of 3.5 s in fake time: 4,000 at once take 875 s, 100,000 at once 35 s.
// In everyday runs there are fewer requests of the same length.
func TestQueue_TheSourcesLoad(t *testing.T) {
	t.Parallel()
	requests := testserver.Times(40_000, 1_000_000)
	for name, concurrency := range map[string]int{"4,000 at once": 4_000, "100,000 at once": testserver.Times(10_000, 100_000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t, sleeper, queue.Config{
					Concurrency: concurrency, ShardCapacity: requests, DrainTimeout: time.Hour,
				})
				for range requests {
					require.NoError(t, q.Go(queue.Job[time.Duration]{Payload: 3500 * time.Millisecond}))
				}
				begin := time.Now()
				require.NoError(t, run(q)())
				took := time.Since(begin)
				t.Logf("%d requests of 3.5 s, %s: %s", requests, name, took)
				require.Equal(t, time.Duration(requests/concurrency)*3500*time.Millisecond, took)
				require.EqualValues(t, requests, q.Stats().Done)
				require.Zero(t, workersAlive(t))
			})
		})
	}
}
