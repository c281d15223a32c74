package testserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// sharedPostgres runs until the process ends.
var sharedPostgres = sync.OnceValues(func() (*Postgres, error) {
	return startPostgres(context.Background(), PostgresConfig{})
})

// DatabaseURL is the URL of an empty database of this test's own, dropped when the test ends, connections notwithstanding. It lives
// on the server of $DATABASE_URL if set (whose role must be allowed to create databases), else on a private one that all tests of
// this process share. Don't stop that: [StartPostgres] gives one to break.
func DatabaseURL(tb testing.TB) string {
	tb.Helper()
	server := os.Getenv("DATABASE_URL")
	if server == "" {
		p, err := sharedPostgres()
		require(tb, err)
		server = p.DSN()
	}
	name := "test_" + strings.ToLower(rand.Text())
	database, err := withDatabase(server, name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := execute(tb.Context(), server, "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := execute(tb.Context(), server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Error(err)
		}
	})
	return database
}

// withDatabase names another database in a connection string of either form.
func withDatabase(dsn, name string) (string, error) {
	if !strings.Contains(dsn, "://") {
		return dsn + " dbname=" + name, nil // the last one wins
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("testserver: DATABASE_URL: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

func execute(ctx context.Context, dsn, sql string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("testserver: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("testserver: %s: %w", sql, err)
	}
	return nil
}
