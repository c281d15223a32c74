package postgres_test

import (
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func TestDB_MigrateTogether(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	var wg sync.WaitGroup
	for range 4 { // of as many processes: each has a pool of its own
		db := openAt(t, dsn, postgres.Config{Schema: "fleet"})
		wg.Go(func() { assert.NoError(t, db.Migrate(t.Context())) })
	}
	wg.Wait()
	conn := connect(t, dsn)
	migrations, err := fs.Glob(postgres.Migrations(), "*.sql")
	require.NoError(t, err)
	require.Equal(t, len(migrations), number(t, conn, "SELECT count(*) FROM fleet.upbeat_migrations"))
	require.Equal(t, 4, number(t, conn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'fleet.health_messages'::regclass"),
		"today and the three days ahead")
}

func TestDB_MigrateRefusesChangedMigration(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)

	execute(t, conn, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (999, '0999_of_a_newer_version.sql', '')")
	require.NoError(t, db.Migrate(t.Context()), "a newer version's migrations are its own")

	execute(t, conn, "UPDATE upbeat_migrations SET checksum = 'other' WHERE version = 1")
	err := db.Migrate(t.Context())
	require.ErrorContains(t, err, "0001_messages.sql was applied with checksum other")
	require.False(t, store.IsTransient(err))
}

// TestMigrations_WithAnotherTool applies the files as they are, as the table's owner, and runs the store as a role
// that may only use them.
func TestMigrations_WithAnotherTool(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	execute(t, conn, "CREATE SCHEMA fleet")
	execute(t, conn, "SET search_path = fleet")
	files := postgres.Migrations()
	names, err := fs.Glob(files, "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		require.NoError(t, err)
		execute(t, conn, string(text))
	}
	db := openAt(t, dsn, postgres.Config{Schema: "fleet"})
	require.NoError(t, db.Maintain(t.Context()))
	n, err := db.Record(t.Context(), beats("a", 10))
	require.NoError(t, err)
	require.Equal(t, 10, n)
}

// TestDB_MigratedIsWhatPeopleQuery holds the names that dashboards use.
func TestDB_MigratedIsWhatPeopleQuery(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	_, err := db.Record(t.Context(), append(beats("a", 5), beats("b", 5)...))
	require.NoError(t, err)
	conn := connect(t, dsn)
	require.Equal(t, 10, number(t, conn, "SELECT count(distinct message_id) FROM health_messages WHERE received_at > now() - interval '1 hour'"))
	require.Equal(t, 10, number(t, conn, "SELECT count(*) FROM health_messages WHERE payload::json->>'service_name' = 'geocoding'"))
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM (SELECT service_name, current_status, last_seen FROM service_status ORDER BY last_seen DESC) s"))
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM instance_status"))
}
