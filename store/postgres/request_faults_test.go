package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func request(id string) store.Request {
	now := time.Now()
	return store.Request{Queue: "orders", ID: id, Status: store.RequestQueued, Payload: []byte("x"), Created: now, Queued: now}
}

func finished(r store.Request, result string) store.Request {
	r.Status, r.Completed, r.Result = store.RequestCompleted, time.Now(), []byte(result)
	return r
}

// until repeats a call for as long as its error is transient.
func until(t *testing.T, call func() error) bool {
	t.Helper()
	for {
		err := call()
		if err == nil {
			return true
		}
		if !assert.True(t, store.IsTransient(err), "%v", err) {
			return false
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestDB_KillOfTheServerUnderRequests kills Postgres while requests are accepted, begun and finished: each that was accepted is there
// once, with the outcome that was acknowledged.
func TestDB_KillOfTheServerUnderRequests(t *testing.T) {
	t.Parallel()
	const submitters = 8
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	db := migrated(t, pg.DSN(), postgres.Config{})
	ctx, stop := context.WithCancel(t.Context())
	var accepted, ended, failed atomic.Int64
	counted := func(err error) error {
		if err != nil {
			failed.Add(1)
		}
		return err
	}
	var wg sync.WaitGroup
	for s := range submitters {
		wg.Go(func() {
			owner := fmt.Sprint("owner-", s)
			for n := 0; ctx.Err() == nil; n++ {
				r := request(fmt.Sprintf("%s/%d", owner, n))
				ok := until(t, func() error {
					known, err := db.Accept(t.Context(), owner, []store.Request{r})
					for _, k := range known { // the reply was lost
						assert.Equal(t, owner, k.Owner)
					}
					return counted(err)
				})
				accepted.Add(1)
				if n%2 == 1 {
					continue // stays open
				}
				ok = ok && until(t, func() error {
					superseded, err := db.Transition(t.Context(), owner, []store.Request{finished(r, owner)})
					assert.Empty(t, superseded)
					return counted(err)
				})
				if !ok {
					return
				}
				ended.Add(1)
			}
		})
	}
	more := func() {
		start := ended.Load()
		require.Eventually(t, func() bool { return ended.Load() > start+100 }, 30*time.Second, time.Millisecond)
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
	conn := connect(t, pg.DSN())
	require.EqualValues(t, accepted.Load(), number(t, conn, "SELECT count(*) FROM requests"))
	require.EqualValues(t, accepted.Load(), number(t, conn, "SELECT count(DISTINCT id) FROM requests"))
	require.EqualValues(t, ended.Load(), number(t, conn, "SELECT count(*) FROM requests WHERE status = 'completed' AND final_result = convert_to(owner, 'UTF8')"))
}

// TestDB_LostReplyOfRequests cuts the network between the commit and its reply: nobody knows then, and accepting again settles it.
func TestDB_LostReplyOfRequests(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	proxy := testserver.StartProxy(t, pg.Addr())
	db := migrated(t, strings.Replace(pg.DSN(), pg.Addr(), proxy.Addr(), 1), postgres.Config{PoolSize: 1})
	accept := func(ctx context.Context, id string) ([]store.Request, error) {
		return db.Accept(ctx, "a", []store.Request{request(id)})
	}
	prepare := func(id string) { // a statement that isn't prepared would wait for a reply before it is carried out
		t.Helper()
		require.True(t, until(t, func() error { _, err := accept(t.Context(), id); return err }))
		require.True(t, until(t, func() error {
			_, err := db.Transition(t.Context(), "a", []store.Request{finished(request(id), "")})
			return err
		}))
	}
	prepare("1")
	conn := connect(t, pg.DSN())

	lose := func(call func(ctx context.Context) error, done string) {
		t.Helper()
		proxy.DropReplies()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- call(ctx) }()
		require.Eventually(t, func() bool { return number(t, conn, done) == 1 }, 10*time.Second, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-result, context.Canceled)
		proxy.Reset()
	}
	lose(func(ctx context.Context) error { _, err := accept(ctx, "2"); return err }, "SELECT count(*) FROM open_requests WHERE id = '2'")
	var known []store.Request
	require.True(t, until(t, func() (err error) { known, err = accept(t.Context(), "2"); return err }))
	require.Len(t, known, 1)
	require.Equal(t, "a", known[0].Owner)

	prepare("3")
	end := []store.Request{finished(request("2"), "done")}
	lose(func(ctx context.Context) error { _, err := db.Transition(ctx, "a", end); return err }, "SELECT count(*) FROM finished_requests WHERE id = '2'")
	require.True(t, until(t, func() error {
		superseded, err := db.Transition(t.Context(), "a", end)
		require.Empty(t, superseded)
		return err
	}))
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM requests WHERE id = '2'"))

	_, err := db.Hold(t.Context(), "orders", "b", time.Hour)
	require.NoError(t, err)
	takeOver := func(ctx context.Context) ([]store.Request, error) { return db.Unfinished(ctx, "orders", "b", 10) }
	_, err = takeOver(t.Context())
	require.NoError(t, err)
	require.True(t, until(t, func() error { _, err := accept(t.Context(), "4"); return err }))
	lose(func(ctx context.Context) error { _, err := takeOver(ctx); return err }, "SELECT count(*) FROM open_requests WHERE owner = 'b'")
	var taken []store.Request
	require.True(t, until(t, func() (err error) { taken, err = takeOver(t.Context()); return err }))
	require.Len(t, taken, 1, "it learns of what it owns")
	require.Equal(t, "4", taken[0].ID)
	taken, err = takeOver(t.Context())
	require.NoError(t, err)
	require.Empty(t, taken, "once")
}

// childEnv names the database in which the test binary, started as a child, accepts and finishes requests until it is killed.
const childEnv = "UPBEAT_TEST_POSTGRES_CHILD"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		fmt.Fprintln(os.Stderr, workForEver(dsn))
		return
	}
	m.Run()
}

// workForEver prints the ID of each request once it is accepted, and once it is finished.
func workForEver(dsn string) error {
	ctx := context.Background()
	db, err := postgres.Open(ctx, dsn, postgres.Config{})
	if err != nil {
		return err
	}
	owner := fmt.Sprint("process-", os.Getpid())
	if _, err := db.Hold(ctx, "orders", owner, time.Millisecond); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				r := request(fmt.Sprintf("%s/%d/%d", owner, w, n))
				if _, err := db.Accept(ctx, owner, []store.Request{r}); err != nil {
					return
				}
				fmt.Fprintln(os.Stdout, "accepted", r.ID)
				if _, err := db.Transition(ctx, owner, []store.Request{finished(r, owner)}); err != nil {
					return
				}
				fmt.Fprintln(os.Stdout, "finished", r.ID)
			}
		})
	}
	wg.Wait()
	return nil
}

// TestDB_KillOfTheWorker kills processes that accept and finish requests: what each said is so, and a successor gets exactly what was
// not finished.
func TestDB_KillOfTheWorker(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	said := map[string]string{}
	for range testserver.Times(2, 100) {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+dsn)
		output, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(output)
		for n := 0; lines.Scan(); n++ {
			what, id, _ := strings.Cut(lines.Text(), " ")
			said[id] = what
			if n == 200 {
				require.NoError(t, child.Process.Kill())
			}
		}
		require.Error(t, child.Wait())
	}
	conn := connect(t, dsn)
	require.Eventually(t, func() bool { // the server notices that its clients are gone, and their leases end
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%_requests%' AND pid <> pg_backend_pid() AND state <> 'idle'") == 0
	}, 10*time.Second, 10*time.Millisecond)
	_, err := db.Hold(t.Context(), "orders", "successor", time.Hour)
	require.NoError(t, err)
	left := number(t, conn, "SELECT count(*) FROM open_requests")
	taken, err := db.Unfinished(t.Context(), "orders", "successor", 10_000)
	require.NoError(t, err)
	require.Len(t, taken, left)
	for _, r := range taken {
		require.NotEqual(t, "finished", said[r.ID])
	}
	for id, what := range said {
		r, found, err := db.Request(t.Context(), "orders", id)
		require.NoError(t, err)
		require.True(t, found, "%s was accepted", id)
		if what == "finished" {
			require.Equal(t, store.RequestCompleted, r.Status)
		}
	}
}

// TestDB_FinishedRequestsMakeTheirPartition loses the partition of this week: the next end makes it again.
func TestDB_FinishedRequestsMakeTheirPartition(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	const drop = "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'finished_requests'::regclass " +
		"LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$"
	for i := range 2 {
		execute(t, conn, drop)
		r := request(fmt.Sprint(i))
		_, err := db.Accept(t.Context(), "a", []store.Request{r})
		require.NoError(t, err)
		_, err = db.Transition(t.Context(), "a", []store.Request{finished(r, "")})
		require.NoError(t, err)
		require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM finished_requests"))
	}
	require.NoError(t, db.Maintain(t.Context()))
}

// TestDB_RetentionDropsWeeks keeps what is younger, and what lies in a week that is.
func TestDB_RetentionDropsWeeks(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{Retention: 10 * day})
	conn := connect(t, dsn)
	finishedDays(t, conn, 40, 10)
	metrics := time.Now().Add(-12 * day).UTC().Truncate(day)
	execute(t, conn, fmt.Sprintf("CREATE TABLE queue_metrics_%s PARTITION OF queue_metrics FOR VALUES FROM ('%s') TO ('%s')",
		metrics.Format("20060102"), metrics.Format(time.RFC3339), metrics.Add(day).Format(time.RFC3339)))
	require.NoError(t, db.Maintain(t.Context()))
	days := number(t, conn, "SELECT count(DISTINCT finished_at::date) FROM finished_requests")
	require.GreaterOrEqual(t, days, 10)
	require.LessOrEqual(t, days, 17)
	require.Equal(t, 4, number(t, conn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'queue_metrics'::regclass"), "today and the three days ahead")
}
