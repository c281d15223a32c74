package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

func TestDB_RetentionDeletesFinishedRequests(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{Retention: 10 * day})
	require.NoError(t, db.Migrate(t.Context()))
	other := connect(t, path)
	const insert = `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1499)
		INSERT INTO requests (queue, id, owner, accepted_at, finished_at, key, priority, status, worker, attempts, processing_time)
		SELECT 'q', ? || i, 'a', ?, ?, '', 0, 'completed', '', 1, 0 FROM n`
	old, young := time.Now().Add(-12*day).UnixMicro(), time.Now().Add(-9*day).UnixMicro()
	execute(t, other, insert, "old", old, old)
	execute(t, other, insert, "young", old, young)
	execute(t, other, insert, "open", old, nil)
	execute(t, other, "INSERT INTO queue_metrics VALUES ('q', ?, 'w', 0, 0, 0, 0, 0, 0), ('q', ?, 'w', 0, 0, 0, 0, 0, 0)", old, young)
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 1500, number(t, other, "SELECT count(*) FROM requests WHERE id LIKE 'young%'"))
	require.Equal(t, 1500, number(t, other, "SELECT count(*) FROM requests WHERE id LIKE 'open%'"))
	require.Equal(t, 3000, number(t, other, "SELECT count(*) FROM requests"))
	require.Equal(t, 1, number(t, other, "SELECT count(*) FROM queue_metrics"))
}

// TestDB_RequestsAreServedByIndexes asks SQLite how it serves each statement: none reads a whole table.
func TestDB_RequestsAreServedByIndexes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	require.NoError(t, db.Migrate(t.Context()))
	other := connect(t, path)
	for name, index := range map[string]string{
		"by id":          "USING INDEX sqlite_autoindex_requests_1 (queue=? AND id=?)",
		"transition":     "USING INDEX sqlite_autoindex_requests_1 (queue=? AND id=?)",
		"unfinished":     "USING INDEX requests_owner (queue=? AND owner=?)",
		"page, open":     "USING INDEX requests_accepted (accepted_at>? AND accepted_at<?)",
		"page, finished": "USING INDEX requests_finished (finished_at>? AND (finished_at,queue)<(?,?))",
		"page, failed":   "USING INDEX requests_trouble (finished_at>? AND finished_at<?)",
		"page, all":      "USING INDEX requests_finished (finished_at>? AND (finished_at,queue)<(?,?))",
		"statistics":     "USING COVERING INDEX requests_finished (finished_at>? AND finished_at<?)",
		"waiting":        "USING INDEX requests_", // all that waits, and nothing else
		"samples":        "USING PRIMARY KEY (queue=? AND sampled_at>? AND (sampled_at,worker,shard)<(?,?,?))",
		"messages":       "USING PRIMARY KEY (occurred_at>? AND (occurred_at,message_id)<(?,?))",
		"delete old":     "USING COVERING INDEX requests_finished (finished_at>? AND finished_at<?)",
		"delete samples": "USING COVERING INDEX queue_metrics_time (sampled_at<?)",
	} {
		statement := sqlite.Statements[name]
		parameters := make([]any, statement.Parameters)
		for i := range parameters {
			parameters[i] = "1"
		}
		plan := planOf(t, other, statement.SQL, parameters)
		require.Contains(t, strings.Join(plan, "; "), index, name)
		require.NotContains(t, plan, "SCAN requests", name)
		require.NotContains(t, plan, "SCAN queue_metrics", name)
	}
}

func planOf(t *testing.T, db *sql.DB, statement string, parameters []any) (plan []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, parameters...)
	require.NoError(t, err, statement)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	require.NoError(t, rows.Err())
	return plan
}

// submit calls accept with a request of 250 bytes each time, from 64 goroutines.
func submit(b *testing.B, accept func(ctx context.Context, r store.Request) error) {
	b.Helper()
	var n atomic.Int64
	b.SetParallelism((64 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	payload := make([]byte, 250)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			r := store.Request{Queue: "orders", ID: fmt.Sprintf("%d-%d", b.N, n.Add(1)), Status: store.RequestQueued, Payload: payload, Created: now, Queued: now}
			if err := accept(b.Context(), r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkDB_Accept has 64 submitters of one request each. It is to be read beside BenchmarkInsert.
func BenchmarkDB_Accept(b *testing.B) {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "x.db"), sqlite.Config{})
	require.NoError(b, err)
	defer db.Close()
	require.NoError(b, db.Migrate(b.Context()))
	submit(b, func(ctx context.Context, r store.Request) error {
		_, err := db.Accept(ctx, "bench", []store.Request{r})
		return err
	})
}

// BenchmarkInsert is what people write by hand: one prepared INSERT for each request, each a transaction, as durable.
func BenchmarkInsert(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	db, err := sqlite.Open(b.Context(), path, sqlite.Config{})
	require.NoError(b, err)
	require.NoError(b, db.Migrate(b.Context()))
	require.NoError(b, db.Close())
	conn, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)")
	require.NoError(b, err)
	defer conn.Close()
	conn.SetMaxOpenConns(1)
	statement, err := conn.PrepareContext(b.Context(), "INSERT INTO requests (queue, id, owner, accepted_at, key, priority, status, worker, attempts, created_at, queued_at, processing_time, payload) "+
		"VALUES (?, ?, 'bench', ?, '', 0, ?, '', 0, ?, ?, 0, ?) ON CONFLICT DO NOTHING")
	require.NoError(b, err)
	defer func() { require.NoError(b, statement.Close()) }()
	submit(b, func(ctx context.Context, r store.Request) error {
		_, err := statement.ExecContext(ctx, r.Queue, r.ID, time.Now().UnixMicro(), r.Status, r.Created.UnixMicro(), r.Queued.UnixMicro(), r.Payload)
		return err
	})
}
