package postgres_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// TestDB_RequestsAreServedByIndexes looks at what the server counts while it runs each statement, over finished requests of two
// months (12,000, a million under make soak) and 5,000 that wait: whole tables read, and rows.
func TestDB_RequestsAreServedByIndexes(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{Settings: map[string]string{"autovacuum": "off"}})
	db := migrated(t, pg.DSN(), postgres.Config{})
	conn := connect(t, pg.DSN())
	setup := connect(t, pg.DSN()) // a connection of its own, which tells what it read to make the indexes when it ends
	finishedDays(t, setup, 60, testserver.Times(200, 17_000))
	require.NoError(t, setup.Close(t.Context()))
	all := make([]store.Request, 5000)
	for i := range all {
		all[i] = store.Request{Queue: "queue-1", ID: fmt.Sprint("open-", i), Status: store.RequestQueued, Queued: time.Now()}
	}
	ctx := t.Context()
	accept := func(owner string, some []store.Request) {
		_, err := db.Accept(ctx, owner, some)
		require.NoError(t, err)
	}
	accept("gone", all[:2500])
	accept("here", all[2500:])
	_, err := db.Hold(ctx, "queue-1", "here", time.Hour)
	require.NoError(t, err)
	db.Close()
	require.Eventually(t, func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == 1
	}, 10*time.Second, 10*time.Millisecond)
	execute(t, conn, "VACUUM ANALYZE")

	old := fmt.Sprintf("%s-7", time.Now().Add(-40*day).UTC().Format("20060102"))
	known := []store.Request{all[1], {Queue: "queue-3", ID: old, Status: store.RequestQueued}, {Queue: "queue-1", ID: "new", Status: store.RequestQueued}}
	const anything = math.MaxInt32
	for _, c := range []struct {
		name  string
		whole int // whole tables read, of six calls
		rows  int // rows read, of six calls
		call  func(db *postgres.DB) error
	}{
		{"accept", 0, 100, func(db *postgres.DB) error { _, err := db.Accept(ctx, "a", known); return err }},
		{"accept of many", 0, 100, func(db *postgres.DB) error { // which are copied
			fresh := make([]store.Request, 50)
			for i := range fresh {
				fresh[i] = store.Request{Queue: "queue-1", ID: rand.Text(), Status: store.RequestQueued}
			}
			_, err := db.Accept(ctx, "a", fresh)
			return err
		}},
		{"begin", 0, 2000, func(db *postgres.DB) error {
			_, err := db.Transition(ctx, "here", withStatus(all[2500:2600], store.RequestProcessing))
			return err
		}},
		{"end", 0, 2500, func(db *postgres.DB) error {
			_, err := db.Transition(ctx, "here", withStatus(all[2600:2700], store.RequestCompleted))
			return err
		}},
		{"superseded", 0, 500, func(db *postgres.DB) error {
			_, err := db.Transition(ctx, "x", withStatus(all[:10], store.RequestFailed))
			return err
		}},
		{"take over", 0, 10_000, func(db *postgres.DB) error { _, err := db.Unfinished(ctx, "queue-1", "here", 100); return err }},
		{"by id", 0, 10, func(db *postgres.DB) error { _, _, err := db.Request(ctx, "queue-3", old); return err }},
		{"page", 0, 2500, func(db *postgres.DB) error { _, err := db.Requests(ctx, store.RequestQuery{}); return err }},
		{"page of a queue that goes on", 0, 6000, func(db *postgres.DB) error {
			_, err := db.Requests(ctx, store.RequestQuery{Queue: "queue-2", After: &store.RequestCursor{At: time.Now().Add(-20 * day), ID: "x"}})
			return err
		}},
		{"failed", 0, 1500, func(db *postgres.DB) error {
			_, err := db.Requests(ctx, store.RequestQuery{Status: store.RequestFailed})
			return err
		}},
		{"waiting", 0, 1500, func(db *postgres.DB) error {
			_, err := db.Requests(ctx, store.RequestQuery{Status: store.RequestQueued})
			return err
		}},
		// What waits is counted one by one, once a call; what has finished is read from the index.
		{"statistics", 6, anything, func(db *postgres.DB) error {
			_, err := db.RequestStats(ctx, store.RequestStatsQuery{From: time.Now().Add(-30 * day), To: time.Now().Add(time.Hour)})
			return err
		}},
		{"samples", 0, 10, func(db *postgres.DB) error {
			_, err := db.QueueSamples(ctx, store.QueueSampleQuery{Queue: "queue-1"})
			return err
		}},
	} {
		before := tableReads(t, conn)
		db := openAt(t, pg.DSN(), postgres.Config{PoolSize: 1})
		for range 6 { // from the sixth time on, the plan is one for any parameters
			require.NoError(t, c.call(db), c.name)
		}
		db.Close() // a server process tells its figures at the latest when it ends
		var after reads
		require.Eventually(t, func() bool {
			after = tableReads(t, conn)
			return after.scans > before.scans && number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == 1
		}, 10*time.Second, 10*time.Millisecond, c.name)
		after = tableReads(t, conn)
		require.LessOrEqual(t, after.whole-before.whole, c.whole, "%s: whole tables read", c.name)
		require.LessOrEqual(t, after.rows-before.rows, c.rows, "%s: rows read", c.name)
	}
}

func withStatus(all []store.Request, status string) []store.Request {
	all = slices.Clone(all)
	for i := range all {
		all[i].Status = status
	}
	return all
}

// reads are what the server has counted.
type reads struct{ scans, whole, rows int }

func tableReads(t *testing.T, conn *pgx.Conn) (r reads) {
	t.Helper()
	err := conn.QueryRow(context.WithoutCancel(t.Context()), "SELECT sum(seq_scan + coalesce(idx_scan, 0)), sum(seq_scan), sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) "+
		"FROM pg_stat_user_tables WHERE relname ~ '^(open_|finished_|queue_metrics)'").Scan(&r.scans, &r.whole, &r.rows)
	require.NoError(t, err)
	return r
}
