package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

const day = 24 * time.Hour

func beat(instance string, count int64, at time.Time) store.Message {
	return store.Message{
		ID: fmt.Sprintf("%s/%d", instance, count), At: at, Service: "geocoding", Instance: instance, Count: count, Status: "running",
		Payload: json.RawMessage(`{"service_name":"geocoding"}`),
	}
}

func beats(instance string, n int) []store.Message {
	now := time.Now().Truncate(time.Second)
	msgs := make([]store.Message, n)
	for i := range msgs {
		msgs[i] = beat(instance, int64(i), now.Add(time.Duration(i-n)*time.Millisecond))
	}
	return msgs
}

// connect opens the file beside the store.
func connect(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}

func number(t *testing.T, db *sql.DB, query string) int {
	t.Helper()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

func execute(tb testing.TB, db *sql.DB, query string, args ...any) {
	tb.Helper()
	_, err := db.ExecContext(tb.Context(), query, args...)
	require.NoError(tb, err)
}

func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                      "want the path of a file",
		":memory:":              "want the path of a file",
		"file::memory:":         "want the path of a file",
		"file:x.db?mode=memory": "want the path of a file",
		filepath.Join(t.TempDir(), "missing", "x.db"): "unable to open database file",
	} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Config{})
		require.ErrorContains(t, err, want, path)
	}
	_, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), sqlite.Config{Retention: time.Hour})
	require.ErrorContains(t, err, "sqlite: Config.Retention is 1h0m0s: want 24h0m0s to")

	text := filepath.Join(t.TempDir(), "x.txt")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600))
	_, err = sqlite.Open(t.Context(), text, sqlite.Config{})
	require.ErrorContains(t, err, "not a database")
}

func TestOpen_AnyPath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "ü.db", "50%20off.db", "q?mode=memory.db", "h#ash.db", "&=;+.db"} {
		if runtime.GOOS == "windows" && strings.Contains(name, "?") {
			continue // no name of a file there
		}
		path := filepath.Join(t.TempDir(), name)
		db := openAt(t, path, sqlite.Config{})
		require.NoError(t, db.Migrate(t.Context()))
		require.FileExists(t, path)
	}
}

func TestDB_MaintainDeletesWhatRetentionDoesNotKeep(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	forever := openAt(t, path, sqlite.Config{Retention: -1})
	require.NoError(t, forever.Migrate(t.Context()))
	kept := beats("a", 10)
	_, err := forever.Record(t.Context(), kept)
	require.NoError(t, err)

	other := connect(t, path)
	today := time.Now().UTC().Truncate(day)
	execute(t, other, `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2499)
		INSERT INTO health_messages SELECT ?, 'old ' || i, 0, '', '', '', 0, '', NULL FROM n`, today.Add(-11*day).UnixMicro())
	execute(t, other, "INSERT INTO health_messages VALUES (?, 'of the oldest day', 0, '', '', '', 0, '', NULL)", today.Add(-10*day).UnixMicro())

	require.NoError(t, forever.Maintain(t.Context()))
	require.Equal(t, 2511, number(t, other, "SELECT count(*) FROM health_messages"))
	db := openAt(t, path, sqlite.Config{Retention: 10 * day})
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 11, number(t, other, "SELECT count(*) FROM health_messages"))
	require.Equal(t, 1, number(t, other, "SELECT count(*) FROM service_status"))
}

func TestDB_KeptForEver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{Retention: -1})
	require.NoError(t, db.Migrate(t.Context()))
	old := beat("old", 1, time.Now().Add(-50*day))
	_, err := db.Record(t.Context(), []store.Message{old})
	require.IsType(t, &store.RefusedError{}, err)
	execute(t, connect(t, path), "INSERT INTO health_messages VALUES (?, 'older', 0, '', '', '', 0, '', NULL)", time.Now().Add(-60*day).UnixMicro())
	n, err := db.Record(t.Context(), []store.Message{old})
	require.NoError(t, err, "without a limit, what is no older than the oldest day is taken")
	require.Equal(t, 1, n)
}

// TestDB_ManyHandles stands for as many processes: each has its own connections.
func TestDB_ManyHandles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	msgs := beats("a", 200)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, db.Migrate(t.Context()))
			for i := range 20 {
				_, err := db.Record(t.Context(), msgs[i*10:(i+1)*10])
				assert.NoError(t, err)
			}
			assert.NoError(t, db.Close())
		})
	}
	wg.Wait()
	require.Equal(t, 200, number(t, connect(t, path), "SELECT count(*) FROM health_messages"))
}

// TestDB_WaitsForWriterWithinContext holds the file's write lock from outside.
func TestDB_WaitsForWriterWithinContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	require.NoError(t, db.Migrate(t.Context()))
	other, err := connect(t, path).Conn(t.Context())
	require.NoError(t, err)
	defer other.Close()
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	waiting := make(chan error, 1)
	start := time.Now()
	go func() { _, err := db.Record(ctx, beats("a", 1)); waiting <- err }()
	read := 0
	for running := true; running; {
		if _, err := db.Services(ctx); err == nil && time.Since(start) > 500*time.Millisecond {
			read++ // by now the writer waits
		}
		select {
		case err := <-waiting:
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.True(t, store.IsTransient(err))
			running = false
		default:
		}
	}
	require.Positive(t, read, "readers don't wait for the writer")
	require.Less(t, time.Since(start), 9*time.Second, "not until the busy timeout")

	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	_, err = db.Record(t.Context(), beats("a", 1))
	require.NoError(t, err)
}

// childEnv names the file in which the test binary, started as a child, records until it is killed.
const childEnv = "UPBEAT_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, recordForEver(path))
		return
	}
	if path := os.Getenv(requestsChildEnv); path != "" {
		fmt.Fprintln(os.Stderr, workForEver(path))
		return
	}
	m.Run()
}

// recordForEver prints the count of each message once it is recorded.
func recordForEver(path string) error {
	db, err := sqlite.Open(context.Background(), path, sqlite.Config{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := int64(0); err == nil; n++ {
				var recorded int
				recorded, err = db.Record(context.Background(), []store.Message{beat(fmt.Sprint(os.Getpid(), "-", w), n, time.Now())})
				if recorded == 1 {
					fmt.Fprintln(os.Stdout, n)
				}
			}
		})
	}
	wg.Wait()
	return err
}

// TestDB_KillOfTheProcess kills a process that writes, again and again: what it said is recorded is there.
func TestDB_KillOfTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	require.NoError(t, db.Migrate(t.Context()))
	other := connect(t, path)
	acknowledged := 0
	cycles := testserver.Times(3, 100)
	for range cycles {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+path)
		output, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(output)
		for n := 0; lines.Scan(); n++ {
			_, err := strconv.Atoi(lines.Text())
			require.NoError(t, err, lines.Text())
			acknowledged++
			if n == 100 {
				require.NoError(t, child.Process.Kill())
			}
		}
		require.Error(t, child.Wait())
		stored := number(t, other, "SELECT count(*) FROM health_messages")
		require.GreaterOrEqual(t, stored, acknowledged)
		require.LessOrEqual(t, stored, acknowledged+4*cycles, "each writer has one at most that it didn't get to say")
		require.Equal(t, stored, number(t, other, "SELECT sum(heartbeat_count + 1) FROM instance_status"), "each with its status")
	}
	var check string
	require.NoError(t, other.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&check))
	require.Equal(t, "ok", check)
}
