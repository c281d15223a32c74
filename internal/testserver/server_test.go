package testserver_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

const (
	wait = 20 * time.Second
	tick = 20 * time.Millisecond
)

// connect opens a client that tries once, so that a test sees each failure itself.
func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func query(t *testing.T, dsn, sql string) (int, error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var n int
	err = conn.QueryRow(t.Context(), sql).Scan(&n)
	return n, err
}

func TestRedis_KillAndStartKeepPortAndData(t *testing.T) {
	t.Parallel()
	r := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	rdb := connect(t, r.Addr())
	require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err())
	addr, pid := r.Addr(), r.PID()

	r.Kill()
	require.Zero(t, r.PID())
	require.Error(t, rdb.Ping(t.Context()).Err())

	r.Start()
	require.Equal(t, addr, r.Addr())
	require.NotEqual(t, pid, r.PID())
	require.Equal(t, "v", connect(t, addr).Get(t.Context(), "k").Val())

	r.Restart()
	require.Equal(t, "v", connect(t, addr).Get(t.Context(), "k").Val())
}

func TestRedis_WithPassword(t *testing.T) {
	t.Parallel()
	r := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--requirepass", "secret"}})
	require.ErrorContains(t, connect(t, r.Addr()).Ping(t.Context()).Err(), "NOAUTH")
	r.Stop()
	require.Zero(t, r.PID())
	r.Stop()
	r.Kill()
}

func TestRedis_PauseStalls(t *testing.T) {
	t.Parallel()
	r := testserver.StartRedis(t, testserver.RedisConfig{})
	conn, err := net.Dial("tcp", r.Addr())
	require.NoError(t, err)
	defer conn.Close()

	r.Pause()
	_, err = conn.Write([]byte("PING\r\n"))
	require.NoError(t, err)
	reply := make([]byte, 7)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	_, err = conn.Read(reply)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	r.Resume()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Read(reply)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", string(reply))

	r.Pause()
	r.Kill()
	r.Start()
	r.Pause() // the end of the test ends it all the same
}

func TestRedisURL_IsShared(t *testing.T) {
	t.Parallel()
	url := testserver.RedisURL(t)
	require.Equal(t, url, testserver.RedisURL(t))
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	require.NoError(t, rdb.Ping(t.Context()).Err())
}

func TestPostgres_KillAndStartRecoverCommittedRows(t *testing.T) {
	t.Parallel()
	p := testserver.StartPostgres(t, testserver.PostgresConfig{Durable: true, Settings: map[string]string{"work_mem": "7MB"}})
	conn, err := pgx.Connect(t.Context(), p.DSN())
	require.NoError(t, err)
	for setting, want := range map[string]string{"fsync": "on", "full_page_writes": "on", "work_mem": "7MB"} {
		var got string
		require.NoError(t, conn.QueryRow(t.Context(), "SHOW "+setting).Scan(&got))
		require.Equal(t, want, got, setting)
	}
	_, err = conn.Exec(t.Context(), "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
	require.NoError(t, err)

	p.Kill()
	require.Error(t, conn.Ping(t.Context()))
	p.Start()
	n, err := query(t, p.DSN(), "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, 1000, n)

	p.Restart()
	n, err = query(t, p.DSN(), "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, 1000, n)
	p.Kill() // leaves shared memory for the cleanup
}

func TestPostgres_PauseStallsOpenConnections(t *testing.T) {
	t.Parallel()
	p := testserver.StartPostgres(t, testserver.PostgresConfig{})
	conn, err := pgx.Connect(t.Context(), p.DSN())
	require.NoError(t, err)

	p.Pause()
	result := make(chan error, 1)
	go func() { result <- conn.Ping(t.Context()) }()
	select {
	case err := <-result:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	p.Resume()
	require.NoError(t, <-result)

	p.Pause()
	p.Stop()
}

func TestDatabaseURL_IsEmptyAndDropped(t *testing.T) {
	t.Parallel()
	var dsns [2]string
	t.Run("use", func(t *testing.T) {
		for i := range dsns {
			dsns[i] = testserver.DatabaseURL(t)
			_, err := pgx.Connect(t.Context(), dsns[i]) // left open: the database is dropped all the same
			require.NoError(t, err)
			n, err := query(t, dsns[i], "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
			require.NoError(t, err)
			require.Zero(t, n)
		}
	})
	require.NotEqual(t, dsns[0], dsns[1])
	for _, dsn := range dsns {
		_, err := query(t, dsn, "SELECT 1")
		require.ErrorContains(t, err, "does not exist")
	}
}
