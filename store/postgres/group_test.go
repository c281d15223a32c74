package postgres_test

import (
	"context"
	"errors"
	"fmt"
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

// blocked holds up all writers until it is called.
func blocked(t *testing.T, dsn string) (release func()) {
	t.Helper()
	conn := connect(t, dsn)
	execute(t, conn, "BEGIN")
	execute(t, conn, "LOCK TABLE health_messages IN SHARE MODE")
	return func() { execute(t, conn, "ROLLBACK") }
}

func waiters(t *testing.T, conn *pgx.Conn) int {
	t.Helper()
	return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
}

// TestDB_SmallBatchesShareTransactions holds up the first ones and counts the transactions of those who came meanwhile.
func TestDB_SmallBatchesShareTransactions(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	release := blocked(t, dsn)
	const callers = 64
	shared := beat("shared", 1, time.Now())
	var inserted atomic.Int64
	var wg sync.WaitGroup
	call := func(c int) {
		wg.Go(func() {
			msgs := []store.Message{beat("a", int64(c), time.Now()), shared, {ID: ""}, beat("b", int64(c), time.Now())}
			n, err := db.Record(t.Context(), msgs)
			var refused *store.RefusedError
			assert.ErrorAs(t, err, &refused)
			assert.Equal(t, 2, refused.Messages[0].Index)
			assert.Contains(t, []int{2, 3}, n)
			inserted.Add(int64(n))
		})
	}
	for c := range 2 {
		call(c)
		require.Eventually(t, func() bool { return waiters(t, conn) == c+1 }, 10*time.Second, time.Millisecond)
	}
	for c := 2; c < callers; c++ {
		call(c)
	}
	require.Eventually(t, func() bool { return db.Waiting() == callers-2 }, 10*time.Second, time.Millisecond)
	release()
	wg.Wait()
	require.EqualValues(t, 2*callers+1, inserted.Load(), "one of all has stored what is shared")
	require.LessOrEqual(t, number(t, conn, "SELECT count(DISTINCT xmin::text) FROM health_messages"), 4)
}

// TestDB_LargeBatchesShareTransactions does the same with batches that are copied, and doesn't look at a caller's messages once that
// has gone.
func TestDB_LargeBatchesShareTransactions(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	release := blocked(t, dsn)
	const callers, size = 10, 500
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for c := range callers {
		msgs := make([]store.Message, size)
		for i := range msgs {
			msgs[i] = beat(fmt.Sprint(c), int64(i), time.Now())
			msgs[i].Payload = []byte(fmt.Sprintf(`{"caller": %d}`, c))
		}
		wg.Go(func() {
			ctx := ctx
			if c < callers-1 {
				ctx = t.Context()
			}
			n, err := db.Record(ctx, msgs)
			if err != nil && c == callers-1 {
				assert.ErrorIs(t, err, context.Canceled)
				for i := range msgs {
					copy(msgs[i].Payload, `{"caller": no`)
					msgs[i] = store.Message{}
				}
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, size, n)
		})
		require.Eventually(t, func() bool { return waiters(t, conn) == min(c+1, 2) && db.Waiting() == max(c-1, 0) }, 10*time.Second, time.Millisecond)
	}
	release()
	require.Eventually(t, func() bool { return db.Waiting() == 0 }, 10*time.Second, time.Microsecond)
	leave() // while its transaction is under way
	wg.Wait()
	require.LessOrEqual(t, number(t, conn, "SELECT count(DISTINCT xmin::text) FROM health_messages"), 3)
	require.Equal(t, (callers-1)*size, number(t, conn, "SELECT count(*) FROM health_messages WHERE instance_id <> '9' AND payload::json->>'caller' = instance_id"))
	require.Zero(t, number(t, conn, "SELECT count(*) FROM health_messages WHERE instance_id = '9' AND payload <> '{\"caller\": 9}'"))
}

// TestDB_CancelledCallerHarmsNobody cancels callers that wait, and one whose transaction is under way with others'.
func TestDB_CancelledCallerHarmsNobody(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	release := blocked(t, dsn)
	errs := make(chan error, 10)
	record := func(ctx context.Context, instance string) {
		go func() {
			_, err := db.Record(ctx, []store.Message{beat(instance, 1, time.Now())})
			errs <- err
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	expiring, stop := context.WithTimeout(t.Context(), 3*time.Second) // long enough to get under way
	defer stop()
	for i := range 2 { // one each in a transaction
		record([]context.Context{ctx, expiring}[i], "alone")
		require.Eventually(t, func() bool { return waiters(t, conn) == i+1 }, 10*time.Second, time.Millisecond)
	}
	record(ctx, "waiting")
	for i := range 5 {
		record(t.Context(), fmt.Sprint("stays ", i))
	}
	require.Eventually(t, func() bool { return db.Waiting() == 6 }, 10*time.Second, time.Millisecond)
	cancel()
	for range 2 {
		err := <-errs
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, store.IsTransient(err))
	}
	err := <-errs
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, store.IsTransient(err))
	require.Eventually(t, func() bool { return db.Waiting() == 0 }, 10*time.Second, time.Millisecond, "they give way to those who stay")

	late, leave := context.WithCancel(t.Context()) // goes with others that stay
	release2 := func() { leave(); release() }
	record(late, "leaves")
	release2()
	failed := 0
	for range 6 {
		if err := <-errs; err != nil {
			require.ErrorIs(t, err, context.Canceled)
			failed++
		}
	}
	require.LessOrEqual(t, failed, 1)
	require.Equal(t, 5, number(t, conn, "SELECT count(*) FROM health_messages WHERE instance_id LIKE 'stays%'"))
	require.Zero(t, number(t, conn, "SELECT count(*) FROM health_messages WHERE instance_id IN ('waiting', 'alone')"))
}

// TestDB_BadBatchFailsAlone has the server refuse what one of many callers gave, by a trigger, as nothing that is admitted is
// refused by the tables themselves.
func TestDB_BadBatchFailsAlone(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	execute(t, conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.instance_id = 'bad' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END IF; RETURN NEW; END $$`)
	execute(t, conn, "CREATE TRIGGER refuse BEFORE INSERT ON health_messages FOR EACH ROW EXECUTE FUNCTION refuse()")
	release := blocked(t, dsn)
	const callers = 40
	var wg sync.WaitGroup
	var failed atomic.Int64
	for c := range callers {
		instance := "good"
		if c%10 == 5 {
			instance = "bad"
		}
		wg.Go(func() {
			n, err := db.Record(t.Context(), []store.Message{beat(instance, int64(c), time.Now())})
			assert.Equal(t, instance == "bad", err != nil, "%v", err)
			assert.Equal(t, instance == "good", n == 1)
			if err != nil {
				assert.False(t, store.IsTransient(err))
				failed.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return waiters(t, conn) > 0 }, 10*time.Second, time.Millisecond)
	release()
	wg.Wait()
	require.EqualValues(t, callers/10, failed.Load())
	require.Equal(t, callers-callers/10, number(t, conn, "SELECT count(*) FROM health_messages"))
}

// TestDB_GroupEndsWithItsCallers cuts the network: nothing is left that waits once all callers have gone.
func TestDB_GroupEndsWithItsCallers(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	release := blocked(t, dsn)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for c := range 20 {
		wg.Go(func() {
			_, err := db.Record(ctx, []store.Message{beat("a", int64(c), time.Now())})
			assert.True(t, errors.Is(err, context.DeadlineExceeded))
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return db.Stats().CheckedOut == 0 }, 10*time.Second, time.Millisecond)
	release()
	n, err := db.Record(t.Context(), []store.Message{beat("a", 1, time.Now())})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
