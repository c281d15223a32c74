//go:build unix

package bench_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

const submitters = 64

// BenchmarkQueue_Tracked is the time from the submission of a job, one each by 64 submitters at once, until it is stored on the disk,
// worked on and its end recorded.
func BenchmarkQueue_Tracked(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "queue.db"), sqlite.Config{})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, db.Close()) })
		require.NoError(b, db.Migrate(b.Context()))
		benchmarkTracker(b, db)
	})
	b.Run("postgres", func(b *testing.B) {
		benchmarkTracker(b, storeDB(b, durablePostgres(b), "public"))
	})
	b.Run("river", benchmarkRiver)
}

func benchmarkTracker(b *testing.B, tracker queue.Tracker) {
	b.Helper()
	q, wait := runQueue(b, func(context.Context, *queue.Task[string]) (int, error) { return 0, nil }, queue.Config{Tracker: tracker})
	payload := string(beatPayload(b, 1))
	b.ResetTimer()
	fromAll(b, func() error { return q.Go(queue.Job[string]{Payload: payload}) })
	wait() // all ends are recorded
	require.EqualValues(b, b.N, q.Stats().Done)
}

// fromAll calls submit b.N times.
func fromAll(b *testing.B, submit func() error) {
	b.Helper()
	var left, failed atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range submitters {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if submit() != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(b, failed.Load())
}

func benchmarkRiver(b *testing.B) {
	w, client := riverClient(b)
	payload := string(beatPayload(b, 1))
	require.NoError(b, client.Start(b.Context()))
	b.ResetTimer()
	fromAll(b, func() error {
		_, err := client.Insert(b.Context(), riverJob{payload}, nil)
		return err
	})
	<-w.seen.done
	require.NoError(b, client.Stop(b.Context())) // all ends are recorded
}
