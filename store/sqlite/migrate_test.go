package sqlite_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

func migrationNames(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(sqlite.Migrations(), "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func TestDB_Validate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	err := db.Validate(t.Context())
	require.ErrorIs(t, err, store.ErrNotMigrated)
	require.ErrorContains(t, err, "0001_messages.sql")
	require.False(t, store.IsTransient(err))
	pending, err := db.DryRun(t.Context())
	require.NoError(t, err)
	require.Equal(t, migrationNames(t), pending)
	require.ErrorIs(t, db.Validate(t.Context()), store.ErrNotMigrated, "nothing was done")

	require.NoError(t, db.Migrate(t.Context()))
	require.NoError(t, db.Validate(t.Context()))
	pending, err = db.DryRun(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)

	other := connect(t, path)
	execute(t, other, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (999, '0999_of_a_newer_version.sql', '')")
	require.NoError(t, db.Migrate(t.Context()), "a newer version's migrations are its own")
	require.ErrorIs(t, db.Validate(t.Context()), store.ErrNewerSchema)

	execute(t, other, "UPDATE upbeat_migrations SET checksum = 'other' WHERE version = 1")
	_, dryRun := db.DryRun(t.Context())
	for _, err := range []error{db.Migrate(t.Context()), db.Validate(t.Context()), dryRun} {
		require.ErrorIs(t, err, store.ErrMigrationChanged)
		require.ErrorContains(t, err, "0001_messages.sql was applied with checksum other")
		require.False(t, store.IsTransient(err))
	}
}

// TestDB_MigrateFromEveryVersion applies the first files only, fills the tables that there are, and migrates.
func TestDB_MigrateFromEveryVersion(t *testing.T) {
	t.Parallel()
	names := migrationNames(t)
	for n := 1; n < len(names); n++ {
		path := filepath.Join(t.TempDir(), "x.db")
		db := openAt(t, path, sqlite.Config{})
		conn := connect(t, path)
		execute(t, conn, "CREATE TABLE upbeat_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT")
		for _, name := range names[:n] {
			text, err := fs.ReadFile(sqlite.Migrations(), name)
			require.NoError(t, err)
			execute(t, conn, string(text))
			var version int
			_, err = fmt.Sscanf(name, "%d_", &version)
			require.NoError(t, err)
			execute(t, conn, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (?, ?, ?)", version, name, fmt.Sprintf("%x", sha256.Sum256(text)))
		}
		msgs := beats("a", 10)
		for _, m := range msgs {
			execute(t, conn, "INSERT INTO health_messages (occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status) "+
				"VALUES (?, ?, 0, '', ?, ?, ?, ?)", m.At.UnixMicro(), m.ID, m.Service, m.Instance, m.Count, m.Status)
		}
		require.NoError(t, db.Migrate(t.Context()))
		require.NoError(t, db.Validate(t.Context()))
		recorded, err := db.Record(t.Context(), append(msgs, beats("b", 5)...))
		require.NoError(t, err)
		require.Equal(t, 5, recorded, "what was there is known")
		require.Equal(t, 15, number(t, conn, "SELECT count(*) FROM health_messages"))
		_, err = db.Accept(t.Context(), "a", []store.Request{{Queue: "q", ID: "1", Status: store.RequestQueued}})
		require.NoError(t, err)
	}
}

// TestScript runs it on an empty file, as the shell of SQLite would.
func TestScript(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	script, err := sqlite.Script()
	require.NoError(t, err)
	other := connect(t, path)
	execute(t, other, script)
	require.NoError(t, db.Validate(t.Context()))
	pending, err := db.DryRun(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)
	require.NoError(t, db.Migrate(t.Context()))
	n, err := db.Record(t.Context(), beats("a", 10))
	require.NoError(t, err)
	require.Equal(t, 10, n)

	_, err = other.ExecContext(t.Context(), script)
	require.ErrorContains(t, err, "already exists")
	execute(t, other, "ROLLBACK")
	require.NoError(t, db.Validate(t.Context()), "nothing was changed")
}
