package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const day = 24 * time.Hour

const countPartitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'health_messages'::regclass"

// oldPartition makes the partition of the day so long ago, with one message in it.
func oldPartition(ago time.Duration) string {
	d := time.Now().Add(-ago).UTC().Truncate(day)
	name, from, to := "health_messages_"+d.Format("20060102"), d.Format(time.RFC3339), d.Add(day).Format(time.RFC3339)
	return fmt.Sprintf("CREATE TABLE %s PARTITION OF health_messages FOR VALUES FROM ('%s') TO ('%s');"+
		"INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status) "+
		"VALUES ('%s', 'old', '', '', '', 0, '')", name, from, to, from)
}

func TestDB_LateMessagesGetTheirPartition(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	var dbs []*postgres.DB
	for range 4 {
		dbs = append(dbs, migrated(t, dsn, postgres.Config{}))
	}
	var msgs []store.Message
	for ago := range 29 {
		msgs = append(msgs, beat("late", int64(ago), time.Now().Add(-time.Duration(ago)*day)))
	}
	var wg sync.WaitGroup
	for _, db := range dbs { // all need the same partitions at once
		wg.Go(func() {
			_, err := db.Record(t.Context(), msgs)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	conn := connect(t, dsn)
	require.Equal(t, len(msgs), number(t, conn, "SELECT count(*) FROM health_messages"))
	require.Equal(t, len(msgs)+3, number(t, conn, countPartitions))
}

func TestDB_MaintainDropsWhatRetentionDoesNotKeep(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{Retention: 10 * day})
	conn := connect(t, dsn)
	execute(t, conn, oldPartition(10*day)) // in part within the retention
	execute(t, conn, oldPartition(11*day))
	execute(t, conn, oldPartition(400*day))
	execute(t, conn, "CREATE TABLE archive PARTITION OF health_messages FOR VALUES FROM ('2001-01-01') TO ('2002-01-01')")
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM health_messages"))
	require.Equal(t, 4+1+1, number(t, conn, countPartitions), "a partition of somebody else's stays")

	forever := openAt(t, dsn, postgres.Config{AcquireTimeout: -1, MaxConnLifetime: -1, Retention: -1})
	old := beat("old", 1, time.Now().Add(-50*day))
	_, err := forever.Record(t.Context(), []store.Message{old})
	require.IsType(t, &store.RefusedError{}, err)
	execute(t, conn, oldPartition(60*day))
	require.NoError(t, forever.Maintain(t.Context()))
	n, err := forever.Record(t.Context(), []store.Message{old})
	require.NoError(t, err, "without a limit, what is no older than the oldest partition is taken")
	require.Equal(t, 1, n)
}

// TestDB_DropDoesNotHoldUpWriters lets a long read keep a partition from being dropped.
func TestDB_DropDoesNotHoldUpWriters(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	execute(t, conn, oldPartition(40*day))
	execute(t, conn, "BEGIN")
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM health_messages"))

	maintained := make(chan error, 1)
	go func() { maintained <- db.Maintain(t.Context()) }()
	written := 0
	for running := true; running; written++ {
		_, err := db.Record(t.Context(), []store.Message{beat("a", int64(written), time.Now())})
		require.NoError(t, err)
		select {
		case err := <-maintained:
			require.ErrorContains(t, err, "drop health_messages_")
			require.True(t, store.IsTransient(err))
			running = false
		default:
		}
	}
	require.Greater(t, written, 5, "writers go on between the tries")

	execute(t, conn, "COMMIT")
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, written, number(t, conn, "SELECT count(*) FROM health_messages"))
}

func TestDB_PartitionDroppedByAnother(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	late := beat("late", 1, time.Now().Add(-5*day))
	for range 2 {
		n, err := db.Record(t.Context(), []store.Message{late})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		execute(t, connect(t, dsn), "DROP TABLE health_messages_"+late.At.UTC().Format("20060102"))
	}
	require.EqualValues(t, 1, db.Stats().Retries)
}

// TestDB_WrongLocalClock runs the store under a clock that stands in the year 2000: the server's decides.
func TestDB_WrongLocalClock(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	msgs := beats("a", 2)
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, 2000, time.Now().Year())
		db, err := postgres.Open(t.Context(), dsn, postgres.Config{})
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, db.Migrate(t.Context()))
		n, err := db.Record(t.Context(), append(msgs, beat("a", 3, time.Now())))
		require.IsType(t, &store.RefusedError{}, err)
		require.Equal(t, len(msgs), n)
	})
}
