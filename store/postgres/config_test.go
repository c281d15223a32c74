package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func TestOpen_NamesAllBadFields(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]postgres.Config{
		"Schema":          {Schema: strings.Repeat("x", 64)},
		"Schema is":       {Schema: "a\x00b"},
		"PoolSize":        {PoolSize: -1},
		"PoolSize is":     {PoolSize: 1001},
		"MaxConnections":  {PoolSize: 20, MaxConnections: 19},
		"AcquireTimeout":  {AcquireTimeout: time.Millisecond},
		"MaxConnLifetime": {MaxConnLifetime: 48 * time.Hour},
		"Retention":       {Retention: time.Hour},
	} {
		_, err := postgres.Open(t.Context(), "", cfg)
		require.ErrorContains(t, err, "postgres: Config."+want)
		require.ErrorContains(t, err, "want ")
	}
	_, err := postgres.Open(t.Context(), "", postgres.Config{PoolSize: -1, Retention: time.Hour})
	require.ErrorContains(t, err, "PoolSize is -1")
	require.ErrorContains(t, err, "Retention is 1h0m0s")
}

func TestOpen_Fails(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), "postgres://u:secret@127.0.0.1:1/x?bad setting", postgres.Config{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
	require.False(t, store.IsTransient(err))

	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	conn := connect(t, pg.DSN())
	execute(t, conn, "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	_, err = postgres.Open(t.Context(), strings.Replace(pg.DSN(), "/postgres?", "/latin?", 1), postgres.Config{})
	require.ErrorContains(t, err, "encoding is LATIN1")
	require.False(t, store.IsTransient(err))

	pg.Kill()
	_, err = postgres.Open(t.Context(), pg.DSN(), postgres.Config{})
	require.ErrorContains(t, err, "postgres: open")
	require.True(t, store.IsTransient(err))
}

// TestDB_TroubleWithTheSchemaPasses: no message is to blame for it, and each is recorded when somebody has mended it.
func TestDB_TroubleWithTheSchemaPasses(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{})
	conn := connect(t, pg.DSN())
	execute(t, conn, "CREATE ROLE writer LOGIN CONNECTION LIMIT 5")
	execute(t, conn, "GRANT writer TO postgres; GRANT CREATE ON SCHEMA public TO writer")
	var log bytes.Buffer
	db := migrated(t, withSetting(t, pg.DSN(), "user", "writer"), postgres.Config{PoolSize: 6, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "max_connections=6 allowed=5")

	for code, c := range map[string]struct{ breaks, mends string }{
		"42P01": {"ALTER TABLE health_messages RENAME TO another", "ALTER TABLE another RENAME TO health_messages"},
		"42703": {"ALTER TABLE instance_status RENAME last_seen TO another", "ALTER TABLE instance_status RENAME another TO last_seen"},
		"42501": {"ALTER TABLE instance_status OWNER TO postgres", "ALTER TABLE instance_status OWNER TO writer"},
		"28000": {
			"ALTER ROLE writer NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'",
			"ALTER ROLE writer LOGIN",
		},
	} {
		for _, size := range []int{1, 500} { // one is a statement, the other is copied
			execute(t, conn, c.breaks)
			msgs := beats(fmt.Sprint(code, size), size)
			require.Eventually(t, func() bool { // a connection may end in the middle of a call first
				_, err := db.Record(t.Context(), msgs)
				require.Error(t, err)
				require.True(t, store.IsTransient(err), "%v", err)
				require.Equal(t, code == "42P01" || code == "42703", errors.Is(err, store.ErrNotMigrated), "%v", err)
				return strings.Contains(err.Error(), code)
			}, 10*time.Second, time.Millisecond, code)
			execute(t, conn, c.mends)
			n, err := db.Record(t.Context(), msgs)
			require.NoError(t, err, code)
			require.Equal(t, size, n)
		}
	}
}

// TestOpen_PermanentMistakes are no outages: nothing is gained by waiting.
func TestOpen_PermanentMistakes(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	for name, broken := range map[string]string{
		"3D000": withSetting(t, dsn, "dbname", "missing"),
		"28000": withSetting(t, dsn, "user", "missing"),
	} {
		_, err := postgres.Open(t.Context(), broken, postgres.Config{})
		require.ErrorContains(t, err, name)
		require.False(t, store.IsTransient(err), name)
	}
}

// TestDB_Stats uses up a pool of two with a burst of one, against a table that somebody locks.
func TestDB_Stats(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{PoolSize: 1, MaxConnections: 2, AcquireTimeout: 3 * time.Second})
	msgs := beats("a", 3)
	msgs[0].ID = ""
	_, err := db.Record(t.Context(), msgs)
	require.Error(t, err)
	_, err = db.Record(t.Context(), msgs[1:])
	require.NoError(t, err)

	conn := connect(t, dsn)
	execute(t, conn, "BEGIN")
	execute(t, conn, "LOCK TABLE instance_status")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() {
			err := context.DeadlineExceeded
			for errors.Is(err, context.DeadlineExceeded) { // a new connection may take longer than AcquireTimeout
				_, err = db.Services(ctx)
			}
			done <- err
		}()
	}
	require.Eventually(t, func() bool { return db.Stats().CheckedOut == 2 }, 10*time.Second, time.Millisecond)

	_, err = db.Services(t.Context())
	require.ErrorContains(t, err, "no connection became free within 3s (2 of 2 in use, 1 calls wait, the first for 3")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, store.IsTransient(err))
	stats := db.Stats()
	require.Positive(t, stats.Waits)
	stats.Waits = 0
	require.Equal(t, postgres.Stats{
		PoolSize: 1, MaxConnections: 2, CheckedOut: 2, Overflow: 1, Utilisation: 1, Recorded: 2, Duplicates: 2, Refused: 1,
	}, stats)

	cancel()
	for range 2 {
		err := <-done
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, store.IsTransient(err))
	}
	execute(t, conn, "ROLLBACK")
	require.Eventually(t, func() bool { // a new connection may take longer than AcquireTimeout
		_, err = db.Services(t.Context())
		return err == nil
	}, 10*time.Second, time.Millisecond, "cancelled calls give their connections back: %v", err)
}
