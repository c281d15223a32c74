package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/upbeat-go/upbeat/store/internal/migration"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const versionsSQL = `
CREATE TABLE IF NOT EXISTS upbeat_migrations (
	version    INTEGER PRIMARY KEY,
	name       TEXT NOT NULL,
	checksum   TEXT NOT NULL,
	applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT`

// Migrations returns the SQL files that Migrate applies, in the order of their names, for those who apply migrations with a tool of
// their own.
func Migrations() fs.FS {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the name is a valid one
	}
	return files
}

// Migrate brings the file up to date, each migration in a transaction of its own. It blocks until that is done. Any
// number of processes may call it at the same time. A migration that was changed after it had been applied is an
// error, [store.ErrMigrationChanged]; one applied by a newer version of this package is left alone.
func (db *DB) Migrate(ctx context.Context) error {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	for _, m := range migrations {
		err := db.write(ctx, func(tx *sql.Tx) error { _, err := apply(ctx, tx, m); return err })
		if err != nil {
			return wrap(ctx, "migrate: "+m.Name, err)
		}
	}
	return nil
}

// Validate tells whether the file is what this version needs, and changes nothing: its error is [store.ErrNotMigrated],
// [store.ErrMigrationChanged], [store.ErrNewerSchema], or several of them joined.
func (db *DB) Validate(ctx context.Context) error {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	var applied []migration.Applied
	tables, err := query(ctx, db, func(rows *sql.Rows) (n int, err error) { err = rows.Scan(&n); return n, err },
		"SELECT 1 FROM sqlite_schema WHERE name = 'upbeat_migrations'")
	if err == nil && len(tables) > 0 {
		applied, err = query(ctx, db, func(rows *sql.Rows) (a migration.Applied, err error) {
			err = rows.Scan(&a.Version, &a.Name, &a.Checksum)
			return a, err
		}, "SELECT version, name, checksum FROM upbeat_migrations ORDER BY version")
	}
	if err != nil {
		return wrap(ctx, "validate", err)
	}
	if err := migration.Validate(migrations, applied); err != nil {
		return fmt.Errorf("sqlite: validate: %w", err)
	}
	return nil
}

var errDryRun = errors.New("dry run")

// DryRun does what Migrate would do, all in one transaction, and takes it back. It returns the names of the migrations that Migrate
// would apply, or the error that it would meet.
func (db *DB) DryRun(ctx context.Context) (pending []string, err error) {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	err = db.write(ctx, func(tx *sql.Tx) error {
		pending = nil
		for _, m := range migrations {
			applied, err := apply(ctx, tx, m)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			if applied {
				pending = append(pending, m.Name)
			}
		}
		return errDryRun
	})
	if !errors.Is(err, errDryRun) {
		return nil, wrap(ctx, "dry run", err)
	}
	return pending, nil
}

// apply reports whether it was the one that applied m.
func apply(ctx context.Context, tx *sql.Tx, m migration.Migration) (applied bool, err error) {
	if _, err := tx.ExecContext(ctx, versionsSQL); err != nil {
		return false, err
	}
	known := migration.Applied{Version: m.Version, Name: m.Name}
	err = tx.QueryRowContext(ctx, "SELECT checksum FROM upbeat_migrations WHERE version = ?", m.Version).Scan(&known.Checksum)
	if err == nil {
		_, err = migration.Compare([]migration.Migration{m}, []migration.Applied{known})
		return false, err
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (?, ?, ?)", m.Version, m.Name, m.Checksum)
	return err == nil, err
}
