package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// TestDB_TimeoutsOfTheRole are for questions: a migration waits for that of another process for as long as its context lets it.
func TestDB_TimeoutsOfTheRole(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	execute(t, conn, "BEGIN")
	execute(t, conn, "SELECT pg_advisory_xact_lock(hashtextextended('upbeat public', 0))")
	impatient := openAt(t, withSetting(t, withSetting(t, dsn, "statement_timeout", "100"), "lock_timeout", "20"), postgres.Config{})
	done := make(chan error, 1)
	go func() { done <- impatient.Migrate(t.Context()) }()
	watcher := connect(t, dsn)
	require.Eventually(t, func() bool {
		return number(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND clock_timestamp() - query_start > interval '300 ms'") == 1
	}, 10*time.Second, time.Millisecond)
	execute(t, conn, "COMMIT")
	require.NoError(t, <-done)
	require.Zero(t, impatient.Stats().Retries)
}

// TestDB_ReadOnlyServer answers what is asked, and has what is written wait for another one.
func TestDB_ReadOnlyServer(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	_, err := migrated(t, dsn, postgres.Config{}).Record(t.Context(), beats("a", 3))
	require.NoError(t, err)
	db := openAt(t, withSetting(t, dsn, "default_transaction_read_only", "on"), postgres.Config{})
	ctx := t.Context()
	require.NoError(t, db.Validate(ctx))
	page, err := db.Messages(ctx, store.MessageQuery{})
	require.NoError(t, err)
	require.Len(t, page.Messages, 3)
	for name, ask := range map[string]func() error{
		"services":  func() error { _, err := db.Services(ctx); return err },
		"dashboard": func() error { _, err := db.Dashboard(ctx, store.DashboardQuery{}); return err },
		"timeline":  func() error { _, err := db.Timeline(ctx, store.TimelineQuery{Service: "geocoding"}); return err },
		"alerts":    func() error { _, err := db.Alerts(ctx, store.AlertQuery{}); return err },
		"requests":  func() error { _, err := db.Requests(ctx, store.RequestQuery{}); return err },
		"request":   func() error { _, _, err := db.Request(ctx, "q", "1"); return err },
		"statistics": func() error {
			_, err := db.RequestStats(ctx, store.RequestStatsQuery{})
			return err
		},
	} {
		require.NoError(t, ask(), name)
	}
	for name, write := range map[string]func() error{
		"record": func() error { _, err := db.Record(ctx, beats("b", 1)); return err },
		"copy":   func() error { _, err := db.Record(ctx, beats("b", 200)); return err },
		"accept": func() error {
			_, err := db.Accept(ctx, "a", []store.Request{{Queue: "q", ID: "1", Status: store.RequestQueued}})
			return err
		},
	} {
		err := write()
		require.ErrorContains(t, err, "25006", name)
		require.True(t, store.IsTransient(err), name)
	}
}

// TestDB_RoleThatMakesNoTables writes and reads what there is room for; only what needs a partition waits for somebody who may make it.
func TestDB_RoleThatMakesNoTables(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	owner := migrated(t, pg.DSN(), postgres.Config{Schema: "fleet"})
	conn := connect(t, pg.DSN())
	execute(t, conn, `CREATE ROLE writer LOGIN;
		GRANT USAGE ON SCHEMA fleet TO writer;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA fleet TO writer`)
	db := openAt(t, withSetting(t, pg.DSN(), "user", "writer"), postgres.Config{Schema: "fleet"})
	ctx := t.Context()
	require.NoError(t, db.Validate(ctx))
	require.NoError(t, db.Migrate(ctx), "there is nothing to do")
	for _, size := range []int{1, 300} {
		batch := beats(fmt.Sprint("host-", size), size)
		batch[0].Alert = &store.AlertChange{Name: "disk"}
		n, err := db.Record(ctx, batch)
		require.NoError(t, err)
		require.Equal(t, size, n)
	}
	r := store.Request{Queue: "q", ID: "1", Status: store.RequestQueued}
	_, err := db.Accept(ctx, "a", []store.Request{r})
	require.NoError(t, err)
	r.Status = store.RequestCompleted
	_, err = db.Transition(ctx, "a", []store.Request{r})
	require.NoError(t, err)
	require.NoError(t, db.RecordQueue(ctx, []store.QueueSample{{Queue: "q", At: time.Now()}}))
	require.NoError(t, db.Maintain(ctx), "nothing is old, and all partitions are there")
	_, err = db.Dashboard(ctx, store.DashboardQuery{})
	require.NoError(t, err)

	late := []store.Message{beat("late", 1, time.Now().Add(-5*day))}
	_, err = db.Record(ctx, late)
	require.ErrorContains(t, err, "add health_messages_"+late[0].At.UTC().Format("20060102"))
	require.ErrorContains(t, err, "42501")
	require.True(t, store.IsTransient(err))
	_, err = owner.Record(ctx, late)
	require.NoError(t, err)
	n, err := db.Record(ctx, late)
	require.NoError(t, err)
	require.Zero(t, n)
}

// TestDB_FiveProcessesMaintain beside writers: old days go, each message is there once and rolled up.
func TestDB_FiveProcessesMaintain(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	db := migrated(t, dsn, postgres.Config{})
	execute(t, conn, oldPartition(40*day))
	execute(t, conn, oldPartition(41*day))
	const writers, batches, size = 2, 20, 150
	var wg sync.WaitGroup
	for range 5 {
		process := openAt(t, dsn, postgres.Config{PoolSize: 2})
		wg.Go(func() {
			for range 5 {
				if err := process.Maintain(t.Context()); err != nil { // a partition that is in use is dropped the next time
					assert.ErrorContains(t, err, "55P03")
				}
			}
		})
	}
	for w := range writers {
		wg.Go(func() {
			for n := range int64(batches) {
				msgs := make([]store.Message, size)
				for i := range msgs {
					msgs[i] = beat(fmt.Sprint("writer-", w), n*size+int64(i), time.Now().Add(-time.Duration(i%3)*day))
				}
				got, err := db.Record(t.Context(), msgs)
				assert.NoError(t, err)
				assert.Equal(t, size, got)
			}
		})
	}
	wg.Wait()
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, writers*batches*size, number(t, conn, "SELECT count(*) FROM health_messages"))
	require.Equal(t, writers*batches*size, number(t, conn, "SELECT sum(samples) FROM health_rollups WHERE metric = ''"))
}
