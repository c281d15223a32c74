package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// TestDB_KillOfTheServer kills Postgres under load, again and again. Each writer repeats a batch until it is acknowledged: what was is there
// once, and nothing else is. Small batches share transactions, larger ones are copied.
func TestDB_KillOfTheServer(t *testing.T) {
	t.Parallel()
	t.Run("small", func(t *testing.T) { t.Parallel(); killTheServer(t, 50) })
	t.Run("copied", func(t *testing.T) { t.Parallel(); killTheServer(t, 300) })
}

func killTheServer(t *testing.T, size int64) {
	t.Helper()
	const writers = 4
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	db := migrated(t, pg.DSN(), postgres.Config{})
	ctx, stop := context.WithCancel(t.Context())
	var acknowledged, failed atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := int64(0); ctx.Err() == nil; n++ {
				batch := make([]store.Message, size)
				for i := range batch {
					batch[i] = beat(fmt.Sprint("writer-", w), n*size+int64(i), time.Now())
					batch[i].Alert = &store.AlertChange{Name: fmt.Sprint("alert ", i%5), Resolved: n%4 == 3}
				}
				for {
					_, err := db.Record(t.Context(), batch)
					if err == nil {
						break
					}
					failed.Add(1)
					if !assert.True(t, store.IsTransient(err), "%v", err) {
						return
					}
					<-time.After(10 * time.Millisecond)
				}
				acknowledged.Add(size)
			}
		})
	}
	more := func() {
		start := acknowledged.Load()
		require.Eventually(t, func() bool { return acknowledged.Load() > start+20*size }, 30*time.Second, time.Millisecond)
	}
	for range testserver.Times(2, 100) {
		more()
		pg.Kill()
		pg.Start()
	}
	more()
	stop()
	wg.Wait()
	require.Positive(t, failed.Load())
	require.NoError(t, db.Maintain(t.Context()))
	requireOnce(t, db, connect(t, pg.DSN()), acknowledged.Load(), writers, size)
}

// requireOnce holds that all that was acknowledged is there once, with all that follows from it.
func requireOnce(t *testing.T, db *postgres.DB, conn *pgx.Conn, acknowledged int64, writers int, size int64) {
	t.Helper()
	require.EqualValues(t, acknowledged, number(t, conn, "SELECT count(*) FROM health_messages"))
	require.EqualValues(t, acknowledged, number(t, conn, "SELECT count(DISTINCT message_id) FROM health_messages"))
	raises := 0
	for w := range writers {
		last := number(t, conn, "SELECT max(heartbeat_count)::int FROM health_messages WHERE instance_id = $1", fmt.Sprint("writer-", w))
		batches := (last + 1) / int(size)
		raises += (batches - batches/4) * int(size)
	}
	require.Equal(t, raises, number(t, conn, "SELECT sum(raise_count)::int FROM health_alerts"), "each raise counts once")
	require.EqualValues(t, acknowledged, number(t, conn, "SELECT sum(samples)::int FROM health_rollups WHERE metric = ''"))
	services, err := db.Services(t.Context())
	require.NoError(t, err)
	require.Len(t, services[0].Instances, writers)
	for _, i := range services[0].Instances {
		require.EqualValues(t, number(t, conn, "SELECT max(heartbeat_count) FROM health_messages WHERE instance_id = $1", i.Instance), i.Count)
	}
}

// TestDB_LostReply cuts the network between the commit and its reply: nobody knows then, and a replay settles it.
func TestDB_LostReply(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 20, "copied": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
			proxy := testserver.StartProxy(t, pg.Addr())
			db := migrated(t, strings.Replace(pg.DSN(), pg.Addr(), proxy.Addr(), 1), postgres.Config{PoolSize: 1})
			msgs := beats("a", 2*size)
			_, err := db.Record(t.Context(), msgs[:size]) // the statements are prepared now
			require.NoError(t, err)
			conn := connect(t, pg.DSN())
			if size > 100 { // only the reply to COMMIT is lost: the COPY before it has gone well
				execute(t, conn, "BEGIN")
				execute(t, conn, "LOCK TABLE instance_status IN EXCLUSIVE MODE")
			} else {
				proxy.DropReplies()
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { _, err := db.Record(ctx, msgs[size:]); done <- err }()
			if size > 100 {
				require.Eventually(t, func() bool { return waiters(t, conn) == 1 }, 10*time.Second, time.Millisecond)
				require.Equal(t, size, number(t, conn, "SELECT count(*) FROM health_messages"), "the log and the statuses are one transaction")
				proxy.DropReplies()
				execute(t, conn, "ROLLBACK")
			}
			require.Eventually(t, func() bool { return number(t, conn, "SELECT count(*) FROM health_messages") == 2*size }, 10*time.Second, time.Millisecond)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)

			proxy.Reset()
			for range 2 {
				n, err := db.Record(t.Context(), msgs)
				require.NoError(t, err)
				require.Zero(t, n)
			}
			require.Equal(t, 2*size, number(t, conn, "SELECT count(*) FROM health_messages"))
		})
	}
}

func TestDB_CutConnectionsAreTransient(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	proxy := testserver.StartProxy(t, pg.Addr())
	db := migrated(t, strings.Replace(pg.DSN(), pg.Addr(), proxy.Addr(), 1), postgres.Config{})
	for name, breakIt := range map[string]func(){"refused": proxy.Refuse, "silent": proxy.BlackHole} {
		breakIt()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := db.Record(ctx, beats("a", 1))
		cancel()
		require.True(t, store.IsTransient(err), "%s: %v", name, err)
	}
	proxy.Reset()
	require.Eventually(t, func() bool { _, err := db.Record(t.Context(), beats("a", 1)); return err == nil }, 10*time.Second, 10*time.Millisecond)
}

// A network that swallows everything leaves a pool full of attempts to connect that nobody answers. They must not outlive it for long.
func TestDB_WorksSoonAfterADeadNetwork(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	proxy := testserver.StartProxy(t, pg.Addr())
	const size = 3
	db := migrated(t, strings.Replace(pg.DSN(), pg.Addr(), proxy.Addr(), 1), postgres.Config{PoolSize: size})
	proxy.HalfOpen()
	for range 2 * size {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := db.Record(ctx, beats("a", 1))
		cancel()
		require.True(t, store.IsTransient(err), "%v", err)
	}
	proxy.Pass()
	ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
	defer cancel()
	_, err := db.Record(ctx, beats("a", 1))
	require.NoError(t, err)
}

// TestDB_OverlappingBatchesDoNotDeadlock has many writers record the same messages of the same instances, and as many of
// their own, each in an order of its own.
func TestDB_OverlappingBatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	var msgs []store.Message
	for i := range 20 {
		msgs = append(msgs, beats(fmt.Sprint("instance-", i), 40)...)
	}
	var dbs []*postgres.DB
	var wg sync.WaitGroup
	var inserted atomic.Int64
	const writers = 12
	for w := range writers {
		if w%6 == 0 {
			dbs = append(dbs, migrated(t, dsn, postgres.Config{}))
		}
		db := dbs[len(dbs)-1]
		wg.Go(func() {
			mine := slices.Clone(msgs)
			for i := range msgs {
				m := msgs[i]
				m.ID, m.Count = fmt.Sprint("of ", w, m.ID), m.Count*writers+int64(w)
				m.At = m.At.Add(-time.Duration(rand.IntN(60)) * time.Second)
				mine = append(mine, m)
			}
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for batch := range slices.Chunk(mine, 200) {
				n, err := db.Record(t.Context(), batch)
				assert.NoError(t, err)
				inserted.Add(int64(n))
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, len(msgs)*(1+writers), inserted.Load())
	for _, db := range dbs {
		require.Zero(t, db.Stats().Retries)
	}
}

// TestDB_DeadlockIsRepeated makes Record the victim of somebody else's transaction.
func TestDB_DeadlockIsRepeated(t *testing.T) {
	t.Parallel()
	// A server process looks for a deadlock once in each wait: by then, the other one has to be waiting, too.
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{Settings: map[string]string{"deadlock_timeout": "3s"}})
	db := migrated(t, pg.DSN(), postgres.Config{})
	msgs := beats("a", 2)
	_, err := db.Record(t.Context(), msgs[:1])
	require.NoError(t, err)

	other := connect(t, pg.DSN())
	execute(t, other, "SET deadlock_timeout = '1h'") // the other one waits for the store to give way
	execute(t, other, "BEGIN")
	execute(t, other, "UPDATE instance_status SET current_status = 'locked'")
	done := make(chan error, 1)
	go func() { _, err := db.Record(t.Context(), msgs); done <- err }()
	watcher := connect(t, pg.DSN())
	require.Eventually(t, func() bool {
		return number(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == 1
	}, 10*time.Second, time.Millisecond)
	execute(t, other, "INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status) "+
		"VALUES ($1, $2, '', '', '', 0, '')", msgs[1].At, msgs[1].ID)
	execute(t, other, "ROLLBACK")
	require.NoError(t, <-done)
	require.Positive(t, db.Stats().Retries)
	require.Equal(t, 2, number(t, watcher, "SELECT count(*) FROM health_messages"))
}

// TestDB_StatusUpdatesTouchNoIndex holds what makes the hot rows cheap.
func TestDB_StatusUpdatesTouchNoIndex(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	for _, m := range beats("a", 100) {
		_, err := db.Record(t.Context(), []store.Message{m})
		require.NoError(t, err)
	}
	db.Close() // a server process reports its figures at the latest when it ends
	conn := connect(t, dsn)
	require.Eventually(t, func() bool {
		return number(t, conn, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'instance_status'") == 99
	}, 10*time.Second, 10*time.Millisecond)
}

// TestDB_BatchOfSeveralTransactions is larger than what is sent at once.
func TestDB_BatchOfSeveralTransactions(t *testing.T) {
	t.Parallel()
	db := migrated(t, testserver.DatabaseURL(t), postgres.Config{})
	msgs := beats("a", 50_001)
	rand.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
	for _, want := range []int{len(msgs), 0} {
		n, err := db.Record(t.Context(), msgs)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.EqualValues(t, len(msgs), db.Stats().Recorded)
	require.EqualValues(t, len(msgs), db.Stats().Duplicates)
}
