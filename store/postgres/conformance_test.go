package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/storetest"
)

// openAt returns a store that is not migrated.
func openAt(tb testing.TB, dsn string, cfg postgres.Config) *postgres.DB {
	tb.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := postgres.Open(tb.Context(), dsn, cfg)
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	return db
}

func migrated(tb testing.TB, dsn string, cfg postgres.Config) *postgres.DB {
	tb.Helper()
	db := openAt(tb, dsn, cfg)
	require.NoError(tb, db.Migrate(tb.Context()))
	return db
}

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

// connect opens a connection beside the store.
func connect(tb testing.TB, dsn string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), dsn)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close(context.WithoutCancel(tb.Context())) })
	return conn
}

func execute(tb testing.TB, conn *pgx.Conn, sql string, args ...any) {
	tb.Helper()
	_, err := conn.Exec(tb.Context(), sql, args...)
	require.NoError(tb, err)
}

// number is the first column of the first row.
func number(tb testing.TB, conn *pgx.Conn, sql string, args ...any) int {
	tb.Helper()
	var n int
	require.NoError(tb, conn.QueryRow(tb.Context(), sql, args...).Scan(&n))
	return n
}

// withSetting adds a setting to a connection string of either form.
func withSetting(tb testing.TB, dsn, name, value string) string {
	tb.Helper()
	if !strings.Contains(dsn, "://") {
		return dsn + " " + name + "=" + value
	}
	u, err := url.Parse(dsn)
	require.NoError(tb, err)
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

// modes are the ways of talking to the server.
func modes() []string {
	all := []string{"cache_statement", "exec", "simple_protocol"}
	if testserver.Race {
		return all[:1]
	}
	return all
}

// TestDB_Conformance runs the suite in each way of talking to the server, in schemas of one database: making a database for
// each test would take most of the time.
func TestDB_Conformance(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := withSetting(t, testserver.DatabaseURL(t), "default_query_exec_mode", mode)
			storetest.Run(t, func(t *testing.T) storetest.Store {
				t.Helper()
				return openAt(t, dsn, postgres.Config{PoolSize: 6, Schema: `Fleet "état" {schema} $1 ` + rand.Text()})
			})
		})
	}
}

// TestDB_HealthConformance does the same with the suite of alerts, uptime, rollups and questions.
func TestDB_HealthConformance(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := withSetting(t, testserver.DatabaseURL(t), "default_query_exec_mode", mode)
			storetest.RunHealth(t, func(t *testing.T) storetest.HealthStore {
				t.Helper()
				return openAt(t, dsn, postgres.Config{PoolSize: 6, Schema: `Fleet "état" {schema} $1 ` + rand.Text()})
			})
		})
	}
}
