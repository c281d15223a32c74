//go:build unix

package bench_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
)

type riverJob struct {
	Payload string `json:"payload"`
}

// Kind names the job.
func (riverJob) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]
	seen *counter
}

// Work does nothing.
func (w *riverWorker) Work(context.Context, *river.Job[riverJob]) error {
	w.seen.add(1)
	return nil
}

// riverClient works with 500 workers, once it is started, on a Postgres that commits to the disk.
func riverClient(b *testing.B) (*riverWorker, *river.Client[pgx.Tx]) {
	b.Helper()
	pool := connect(b, durablePostgres(b))
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	require.NoError(b, err)
	_, err = migrator.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(b, err)
	w := &riverWorker{seen: newCounter(b.N)}
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(driver, &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 500}}, Workers: workers, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	return w, client
}

// drainRiver works on jobs in Postgres that are there already, with 500 workers.
func drainRiver(b *testing.B) {
	w, client := riverClient(b)
	payload := string(beatPayload(b, 1))
	jobs := make([]river.InsertManyParams, 0, 5000)
	for i := range b.N {
		if jobs = append(jobs, river.InsertManyParams{Args: riverJob{payload}}); len(jobs) == cap(jobs) || i == b.N-1 {
			_, err := client.InsertManyFast(b.Context(), jobs)
			require.NoError(b, err)
			jobs = jobs[:0]
		}
	}
	before := startClock(b)
	require.NoError(b, client.Start(b.Context()))
	<-w.seen.done
	require.NoError(b, client.Stop(b.Context()))
	finish(b, before)
}
