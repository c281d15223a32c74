package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// measured are messages of two services over so many minutes, with payloads that SQL would choke on among them.
func measured(n, minutes int) []store.Message {
	msgs := make([]store.Message, n)
	for i := range msgs {
		payload := fmt.Sprintf(`{"latency_ms":%d.25,"heartbeat_count":%d,"name":"x"}`, rand.IntN(1000), i)
		if i%10 == 0 {
			payload = []string{`{"latency_ms":1e999}`, `{"a\u0000b":1,"latency_ms":3,"s":"\u0000"}`, `{"latency_ms":"high"}`, `[1]`, `7`}[i/10%5]
		}
		msgs[i] = store.Message{
			ID: fmt.Sprint(i), At: start.Truncate(time.Minute).Add(time.Duration(rand.IntN(minutes*60_000)) * time.Millisecond),
			Service: fmt.Sprint("service-", i%2), Instance: "host-1", Payload: json.RawMessage(payload),
		}
	}
	return msgs
}

type rollupKey struct {
	service, metric string
	minute          int64
}

// rollupsOf are what the messages come to.
func rollupsOf(msgs []store.Message) map[rollupKey]store.Rollup {
	all := map[rollupKey]store.Rollup{}
	for _, m := range msgs {
		key := rollupKey{m.Service, store.MetricMessages, m.At.Unix() / 60}
		r := all[key]
		r.Count++
		all[key] = r
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(m.Payload, &fields)
		var v float64
		if string(fields["latency_ms"]) == "1e999" {
			v = 1e100
		} else if fields["latency_ms"] == nil || json.Unmarshal(fields["latency_ms"], &v) != nil {
			continue
		}
		key.metric = "latency_ms"
		r = all[key]
		r.Observe(v)
		all[key] = r
	}
	return all
}

func readRollups(tb testing.TB, conn *pgx.Conn) map[rollupKey]store.Rollup {
	tb.Helper()
	rows, err := conn.Query(tb.Context(), "SELECT service_name, metric, minute, samples, minimum, maximum, total, buckets, bucket_counts FROM health_rollups")
	require.NoError(tb, err)
	all := map[rollupKey]store.Rollup{}
	var key rollupKey
	var r store.Rollup
	var indexes []int16
	var counts []int64
	_, err = pgx.ForEachRow(rows, []any{&key.service, &key.metric, &r.Minute, &r.Count, &r.Min, &r.Max, &r.Sum, &indexes, &counts}, func() error {
		r.Buckets = nil
		for i := range indexes {
			r.Buckets = append(r.Buckets, store.Bucket{Index: indexes[i], Count: counts[i]})
		}
		key.minute = r.Minute.Unix() / 60
		all[key] = r
		return nil
	})
	require.NoError(tb, err)
	return all
}

func requireRollups(t *testing.T, want, got map[rollupKey]store.Rollup) {
	t.Helper()
	for key, w := range want {
		g, ok := got[key]
		require.True(t, ok, "%v", key)
		require.InEpsilon(t, 1+w.Sum, 1+g.Sum, 1e-12, "%v", key) // the order of the sum differs
		g.Minute, g.Sum = w.Minute, w.Sum
		require.Equal(t, w, g, "%v", key)
	}
	require.Len(t, got, len(want))
}

// TestDB_RollupsMatchTheLog writes from several at once, in batches of all sizes, with replays, while several others roll up.
func TestDB_RollupsMatchTheLog(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	dbs := []*postgres.DB{migrated(t, dsn, postgres.Config{}), migrated(t, dsn, postgres.Config{})}
	msgs := measured(4000, 150)
	var writers, rollers sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		mine := slices.Concat(msgs[w*1000:(w+1)*1000], msgs[rand.IntN(3000):][:200])
		writers.Go(func() {
			for len(mine) > 0 {
				n := min(len(mine), 1+rand.IntN(300))
				_, err := dbs[w%2].Record(t.Context(), mine[:n])
				assert.NoError(t, err)
				mine = mine[n:]
			}
		})
	}
	for _, db := range dbs {
		rollers.Go(func() {
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				assert.NoError(t, db.Maintain(t.Context()))
			}
		})
	}
	writers.Wait()
	close(done)
	rollers.Wait()
	require.NoError(t, dbs[0].Maintain(t.Context()))
	conn := connect(t, dsn)
	require.Zero(t, number(t, conn, "SELECT count(*) FROM rollup_pending"))
	requireRollups(t, rollupsOf(msgs), readRollups(t, conn))

	writes := "SELECT count(DISTINCT xmin::text)::int FROM health_rollups"
	before := number(t, conn, writes)
	for _, size := range []int{50, 4000} {
		for i := 0; i < len(msgs); i += size {
			_, err := dbs[0].Record(t.Context(), msgs[i:i+size])
			require.NoError(t, err)
		}
	}
	require.Zero(t, number(t, conn, "SELECT count(*) FROM rollup_pending"), "a replay leaves nothing to be done")
	require.NoError(t, dbs[0].Maintain(t.Context()))
	require.Equal(t, before, number(t, conn, writes))
}

// TestDB_RollupsGoOnWhereTheyWere ends a run in the middle, and has late rows in a day without a partition.
func TestDB_RollupsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	msgs := measured(1000, 200)
	for i := range 100 {
		msgs[i].At = msgs[i].At.Add(-5 * day)
	}
	_, err := db.Record(t.Context(), msgs)
	require.NoError(t, err)
	pending := number(t, conn, "SELECT count(*) FROM rollup_pending")

	execute(t, conn, "BEGIN")
	execute(t, conn, "LOCK TABLE health_rollups IN EXCLUSIVE MODE")
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, db.Maintain(short), "roll up")
	execute(t, conn, "ROLLBACK")
	require.Equal(t, pending, number(t, conn, "SELECT count(*) FROM rollup_pending"), "what isn't done stays to be done")

	require.NoError(t, db.Maintain(t.Context()))
	requireRollups(t, rollupsOf(msgs), readRollups(t, conn))
}

// TestDB_RollupsMissNothingThatCommitsMeanwhile holds a run up when it has read a minute, and adds to that minute.
func TestDB_RollupsMissNothingThatCommitsMeanwhile(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn, watcher := connect(t, dsn), connect(t, dsn)
	msgs := measured(20, 1)
	_, err := db.Record(t.Context(), msgs[:5])
	require.NoError(t, err)
	require.NoError(t, db.Maintain(t.Context())) // shortly after midnight, the day of the messages has no partition yet
	_, err = db.Record(t.Context(), msgs[5:10])
	require.NoError(t, err)
	execute(t, conn, "BEGIN")
	execute(t, conn, "LOCK TABLE health_rollups IN EXCLUSIVE MODE")
	done := make(chan error, 1)
	go func() { done <- db.Maintain(t.Context()) }()
	require.Eventually(t, func() bool { return waiters(t, watcher) == 1 }, 10*time.Second, time.Millisecond)
	_, err = db.Record(t.Context(), msgs[10:])
	require.NoError(t, err)
	other := openAt(t, dsn, postgres.Config{})
	require.NoError(t, other.Maintain(t.Context()), "another process leaves the rollups to the one that is at it")
	execute(t, conn, "ROLLBACK")
	require.NoError(t, <-done)
	require.NoError(t, db.Maintain(t.Context()))
	requireRollups(t, rollupsOf(msgs), readRollups(t, conn))
}

// TestDB_RollupsOfManyNames keeps the first by name, also when those come last.
func TestDB_RollupsOfManyNames(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	for i := range 2 * store.MaxMetrics {
		m := measured(1, 1)[0]
		m.ID, m.At = fmt.Sprint(i), start
		m.Payload = json.RawMessage(fmt.Sprintf(`{"m%04d":1}`, 2*store.MaxMetrics-i))
		_, err := db.Record(t.Context(), []store.Message{m})
		require.NoError(t, err)
		if i%16 == 15 {
			require.NoError(t, db.Maintain(t.Context()))
		}
	}
	require.Equal(t, store.MaxMetrics, number(t, conn, "SELECT count(*) FROM health_rollups WHERE metric > ''"))
	require.Equal(t, store.MaxMetrics, number(t, conn, "SELECT count(*) FROM health_rollups WHERE metric BETWEEN 'm0001' AND 'm0064'"))
}

func TestDB_RollupsAreDroppedWithTheLog(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{Retention: 10 * day})
	conn := connect(t, dsn)
	old := time.Now().Add(-9 * day)
	_, err := db.Record(t.Context(), []store.Message{beat("a", 1, old), beat("a", 2, time.Now())})
	require.NoError(t, err)
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM health_rollups"))

	short := migrated(t, dsn, postgres.Config{Retention: 5 * day})
	execute(t, conn, "INSERT INTO rollup_pending VALUES ($1)", old)
	require.NoError(t, short.Maintain(t.Context()))
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM health_rollups"))
	require.Zero(t, number(t, conn, "SELECT count(*) FROM rollup_pending"))
}
