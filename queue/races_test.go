package queue_test

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
)

// These tests aim at windows of a few instructions by trying often. A run that passes is no proof.

// TestQueue_NeverStalls submits to queues whose only worker is about to end. With one submitter to a queue nobody
// comes later to make up for a wake-up that went missing.
func TestQueue_NeverStalls(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			q := start(t, echo, queue.Config{Shards: 1, Concurrency: 1})
			var spun atomic.Int64
			for i := range 8_000 {
				ticket := mustSubmit(t, q, queue.Job[int]{Payload: i})
				if result, err := ticket.Wait(t.Context()); result != i || err != nil {
					t.Fatal(result, err)
				}
				for range rand.IntN(2_000) { // until somewhere near the worker's end
					spun.Add(1)
				}
			}
		})
	}
}

// TestQueue_OutcomeIsCountedFirst looks at Stats the moment a ticket is resolved.
func TestQueue_OutcomeIsCountedFirst(t *testing.T) {
	t.Parallel()
	for name, job := range map[string]queue.Job[int]{"anonymous": {}, "id": {ID: "a"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// With this many shards a worker that has resolved a ticket is busy for a while looking for its next task.
			q := start(t, echo, queue.Config{Shards: 1024})
			for i := range 1_000 {
				done := mustSubmit(t, q, job).Done()
				for waiting := true; waiting; {
					select {
					case <-done:
						waiting = false
					default:
						runtime.Gosched()
					}
				}
				if stats := q.Stats(); stats.Done != int64(i+1) || stats.Active != 0 {
					t.Fatalf("after %d tasks: done %d, active %d", i+1, stats.Done, stats.Active)
				}
			}
		})
	}
}

// TestQueue_DrainLosesNothingAccepted ends Run while jobs come in, some of them so late that their submitter has not
// yet got round to starting a worker.
func TestQueue_DrainLosesNothingAccepted(t *testing.T) {
	t.Parallel()
	for range testserver.Times(300, 20_000) {
		q := newQueue(t, echo, queue.Config{Shards: 1, Concurrency: 1})
		stop := run(q)
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for q.Go(queue.Job[int]{}) == nil {
					accepted.Add(1)
					runtime.Gosched()
				}
			})
		}
		for accepted.Load() < 5 {
			runtime.Gosched()
		}
		require.NoError(t, stop())
		stats := q.Stats()
		wg.Wait()
		require.Equal(t, accepted.Load(), stats.Done)
		require.Zero(t, stats.Waiting+stats.Active)
	}
}
