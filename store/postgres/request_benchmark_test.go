package postgres_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const submitters = 64

// submit calls accept with a request of 250 bytes each time, from 64 goroutines.
func submit(b *testing.B, accept func(ctx context.Context, r store.Request) error) {
	b.Helper()
	var n atomic.Int64
	b.SetParallelism((submitters + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	payload := make([]byte, 250)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			r := store.Request{Queue: "orders", ID: fmt.Sprintf("%s-%d-%d", b.Name(), b.N, n.Add(1)), Status: store.RequestQueued, Payload: payload, Created: now, Queued: now}
			if err := accept(b.Context(), r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "requests/s")
}

// durable is a server that waits for the disk at each commit.
func durable(b *testing.B) (*postgres.DB, string) {
	b.Helper()
	pg := testserver.StartPostgres(b, testserver.PostgresConfig{Durable: true})
	return migrated(b, pg.DSN(), postgres.Config{}), pg.DSN()
}

// BenchmarkDB_Accept has 64 submitters of one request each, without a past and with 30 days of 10,000 finished requests, whose IDs are
// looked for. It is to be read beside BenchmarkInsert.
func BenchmarkDB_Accept(b *testing.B) {
	for name, days := range map[string]int{"empty": 0, "30days": 30} {
		b.Run(name, func(b *testing.B) {
			db, dsn := durable(b)
			finishedDays(b, connect(b, dsn), days, 10_000)
			submit(b, func(ctx context.Context, r store.Request) error {
				_, err := db.Accept(ctx, "bench", []store.Request{r})
				return err
			})
		})
	}
}

// BenchmarkInsert is what people write by hand: an INSERT for each request, on as many connections, into the same table.
func BenchmarkInsert(b *testing.B) {
	_, dsn := durable(b)
	pool, err := pgxpool.New(b.Context(), withSetting(b, dsn, "pool_max_conns", "15"))
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	submit(b, func(ctx context.Context, r store.Request) error {
		_, err := pool.Exec(ctx, "INSERT INTO open_requests (queue, id, owner, accepted_at, key, priority, status, worker, attempts, created_at, queued_at, processing_ns, payload) "+
			"VALUES ($1, $2, 'bench', now(), '', 0, $3, '', 0, $4, $5, 0, $6) ON CONFLICT DO NOTHING", r.Queue, r.ID, r.Status, r.Created, r.Queued, r.Payload)
		return err
	})
}

// BenchmarkDB_Transition finishes requests in batches of 1,000: each is accepted, begun and ended.
func BenchmarkDB_Transition(b *testing.B) {
	const size = 1000
	db, _ := durable(b)
	batch := 0
	var accepting, beginning, ending time.Duration
	for b.Loop() {
		batch++
		all := make([]store.Request, size)
		for i := range all {
			now := time.Now()
			all[i] = store.Request{Queue: "orders", ID: fmt.Sprintf("%08d-%04d", batch, i), Status: store.RequestQueued, Payload: make([]byte, 250), Created: now, Queued: now}
		}
		for _, phase := range []struct {
			status string
			took   *time.Duration
			do     func() error
		}{
			{store.RequestQueued, &accepting, func() error { _, err := db.Accept(b.Context(), "bench", all); return err }},
			{store.RequestProcessing, &beginning, func() error { _, err := db.Transition(b.Context(), "bench", all); return err }},
			{store.RequestCompleted, &ending, func() error { _, err := db.Transition(b.Context(), "bench", all); return err }},
		} {
			for i := range all {
				all[i].Status, all[i].Started = phase.status, time.Now()
			}
			start := time.Now()
			require.NoError(b, phase.do())
			*phase.took += time.Since(start)
		}
	}
	for name, took := range map[string]time.Duration{"accepted/s": accepting, "begun/s": beginning, "ended/s": ending} {
		b.ReportMetric(float64(batch*size)/took.Seconds(), name)
	}
}

// finishedDays makes the partitions of past days, with so many requests of each.
func finishedDays(tb testing.TB, conn *pgx.Conn, days, perDay int) {
	tb.Helper()
	for ago := 1; ago <= days; ago++ {
		d := time.Now().Add(-time.Duration(ago) * day).UTC().Truncate(day)
		first := d.Add(-time.Duration((d.Weekday()+6)%7) * day)
		if number(tb, conn, "SELECT count(*) FROM pg_class WHERE relname = $1", "finished_requests_"+first.Format("20060102")) == 0 {
			execute(tb, conn, fmt.Sprintf("CREATE TABLE finished_requests_%s PARTITION OF finished_requests FOR VALUES FROM ('%s') TO ('%s')",
				first.Format("20060102"), first.Format(time.RFC3339), first.Add(7*day).Format(time.RFC3339)))
		}
		execute(tb, conn, "INSERT INTO finished_requests (queue, id, owner, accepted_at, finished_at, key, priority, status, worker, attempts, created_at, queued_at, started_at, completed_at, processing_ns, payload) "+
			"SELECT 'queue-' || n % 4, $1::text || '-' || n, 'a', t, t, 'key', 0, CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END, 'w', 1, t - interval '2 s', t - interval '2 s', t - interval '1 s', t, n * 1000, $2 "+
			"FROM (SELECT n, $3::timestamptz + n * interval '86000 s' / $4 AS t FROM generate_series(1, $4::int) AS n) AS s",
			d.Format("20060102"), make([]byte, 100), d, perDay)
	}
	execute(tb, conn, "VACUUM ANALYZE finished_requests")
}
