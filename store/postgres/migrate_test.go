package postgres_test

import (
	"crypto/sha256"
	"fmt"
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
	require.Equal(t, len(migrationNames(t)), number(t, conn, "SELECT count(*) FROM fleet.upbeat_migrations"))
	require.Equal(t, 4, number(t, conn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'fleet.health_messages'::regclass"),
		"today and the three days ahead")
}

func migrationNames(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(postgres.Migrations(), "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func TestDB_Validate(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := openAt(t, dsn, postgres.Config{})
	names := migrationNames(t)
	last := names[len(names)-1]
	err := db.Validate(t.Context())
	require.ErrorIs(t, err, store.ErrNotMigrated)
	require.ErrorContains(t, err, last)
	require.False(t, store.IsTransient(err))
	require.NoError(t, db.Migrate(t.Context()))
	require.NoError(t, db.Validate(t.Context()))
	conn := connect(t, dsn)

	execute(t, conn, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (999, '0999_of_a_newer_version.sql', '')")
	require.NoError(t, db.Migrate(t.Context()), "a newer version's migrations are its own")
	err = db.Validate(t.Context())
	require.ErrorIs(t, err, store.ErrNewerSchema)
	require.ErrorContains(t, err, "0999_of_a_newer_version.sql")
	require.NotErrorIs(t, err, store.ErrNotMigrated)

	execute(t, conn, "UPDATE upbeat_migrations SET checksum = 'other' WHERE version = 1")
	for _, err := range []error{db.Migrate(t.Context()), db.Validate(t.Context())} {
		require.ErrorIs(t, err, store.ErrMigrationChanged)
		require.ErrorContains(t, err, "0001_messages.sql was applied with checksum other")
		require.False(t, store.IsTransient(err))
	}
	_, err = db.DryRun(t.Context())
	require.ErrorIs(t, err, store.ErrMigrationChanged)

	execute(t, conn, "DELETE FROM upbeat_migrations WHERE name = $1", last)
	err = db.Validate(t.Context())
	for _, want := range []error{store.ErrNotMigrated, store.ErrMigrationChanged, store.ErrNewerSchema} {
		require.ErrorIs(t, err, want)
	}
}

func TestDB_DryRunChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := openAt(t, dsn, postgres.Config{Schema: "fleet"})
	for range 2 {
		pending, err := db.DryRun(t.Context())
		require.NoError(t, err)
		require.Equal(t, migrationNames(t), pending)
	}
	conn := connect(t, dsn)
	require.Zero(t, number(t, conn, "SELECT count(*) FROM pg_namespace WHERE nspname = 'fleet'"))
	require.NoError(t, db.Migrate(t.Context()))
	pending, err := db.DryRun(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)

	execute(t, conn, "CREATE TABLE public.health_messages ()")
	taken := openAt(t, dsn, postgres.Config{})
	_, err = taken.DryRun(t.Context())
	require.ErrorContains(t, err, "0001_messages.sql", "it says what Migrate would meet")
}

// TestScript runs it as a file with several statements, as psql would.
func TestScript(t *testing.T) {
	t.Parallel()
	const schema = `Fleet "état" {schema} $1`
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	script, err := postgres.Script(schema)
	require.NoError(t, err)
	db := openAt(t, dsn, postgres.Config{Schema: schema})
	for range 2 {
		_, err = conn.PgConn().Exec(t.Context(), script).ReadAll()
		require.NoError(t, err)
		require.NoError(t, db.Validate(t.Context()))
	}
	require.NoError(t, db.Migrate(t.Context()), "it finds nothing to do but the partitions")
	n, err := db.Record(t.Context(), beats("a", 10))
	require.NoError(t, err)
	require.Equal(t, 10, n)
	_, err = postgres.Script("a\x00b")
	require.ErrorContains(t, err, "Schema")
}

// TestDB_MigrateFromEveryVersion applies the first files only, fills the tables that there are, and migrates.
func TestDB_MigrateFromEveryVersion(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	names := migrationNames(t)
	for n := 1; n < len(names); n++ {
		t.Run(names[n-1], func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprint("after_", n)
			conn := connect(t, dsn)
			execute(t, conn, "CREATE SCHEMA "+schema)
			execute(t, conn, "SET search_path = "+schema)
			execute(t, conn, "CREATE TABLE upbeat_migrations (version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())")
			for i, name := range names[:n] {
				text, err := fs.ReadFile(postgres.Migrations(), name)
				require.NoError(t, err)
				execute(t, conn, string(text))
				var version int
				_, err = fmt.Sscanf(names[i], "%d_", &version)
				require.NoError(t, err)
				execute(t, conn, "INSERT INTO upbeat_migrations VALUES ($1, $2, $3)", version, name, fmt.Sprintf("%x", sha256.Sum256(text)))
			}
			msgs := beats("a", 10)
			execute(t, conn, oldPartition(0))
			for _, m := range msgs {
				execute(t, conn, "INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload) "+
					"VALUES ($1, $2, '', $3, $4, $5, $6, '{}')", m.At, m.ID, m.Service, m.Instance, m.Count, m.Status)
			}
			db := migrated(t, dsn, postgres.Config{Schema: schema})
			require.NoError(t, db.Validate(t.Context()))
			recorded, err := db.Record(t.Context(), append(msgs, beats("b", 5)...))
			require.NoError(t, err)
			require.Equal(t, 5, recorded, "what was there is known")
			require.NoError(t, db.Maintain(t.Context()))
			require.Equal(t, 16, number(t, conn, "SELECT count(*) FROM health_messages"))
			_, err = db.Accept(t.Context(), "a", []store.Request{{Queue: "q", ID: "1", Status: store.RequestQueued}})
			require.NoError(t, err)
		})
	}
}

// TestDB_SeveralInstallations share one database, and nothing else.
func TestDB_SeveralInstallations(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	var dbs []*postgres.DB
	for _, schema := range []string{"", "fleet", `a "b" c`} {
		dbs = append(dbs, migrated(t, dsn, postgres.Config{Schema: schema}))
	}
	r := store.Request{Queue: "q", ID: "1", Status: store.RequestQueued}
	for _, db := range dbs {
		known, err := db.Accept(t.Context(), "a", []store.Request{r})
		require.NoError(t, err)
		require.Empty(t, known)
		n, err := db.Record(t.Context(), beats("a", 3)[:1])
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	r.Status = store.RequestFailed
	_, err := dbs[0].Transition(t.Context(), "a", []store.Request{r})
	require.NoError(t, err)
	for i, want := range []string{store.RequestFailed, store.RequestQueued, store.RequestQueued} {
		got, _, err := dbs[i].Request(t.Context(), "q", "1")
		require.NoError(t, err)
		require.Equal(t, want, got.Status)
	}
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
	for _, name := range migrationNames(t) {
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
