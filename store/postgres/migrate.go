package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store/internal/migration"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations returns the SQL files that Migrate applies, in the order of their names, for those who apply migrations with
// a tool of their own. Each is meant for one transaction whose search_path begins with the schema; after them,
// Maintain makes the first partitions.
func Migrations() fs.FS {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the name is a valid one
	}
	return files
}

// Migrate brings the schema up to date, each migration in a transaction of its own, and makes the first partitions.
// It blocks until that is done. Any number of processes may call it at the same time. A migration that was changed
// after it had been applied is an error; one applied by a newer version of this package is left alone.
func (db *DB) Migrate(ctx context.Context) error {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	for _, m := range migrations {
		var applied bool
		err := db.retry(ctx, func() (err error) { applied, err = db.apply(ctx, m); return err })
		if err != nil {
			return wrap("migrate: "+m.Name, err)
		}
		if applied {
			db.cfg.Logger.InfoContext(ctx, "postgres: migrated", "schema", db.cfg.Schema, "migration", m.Name)
		}
	}
	if err := db.retry(ctx, func() error { return db.useTimescale(ctx) }); err != nil {
		return wrap("migrate: TimescaleDB", err)
	}
	if err := db.setClock(ctx); err != nil {
		return wrap("migrate", err)
	}
	return wrap("migrate", db.addPartitions(ctx))
}

const migrateLockTimeout = 0 // waits as long as the context does

// apply reports whether it was the one that applied m.
func (db *DB) apply(ctx context.Context, m migration.Migration) (applied bool, err error) {
	err = db.exclusively(ctx, migrateLockTimeout, func(tx pgx.Tx) error {
		if err := db.prepareVersions(ctx, tx); err != nil {
			return err
		}
		var checksum string
		err := tx.QueryRow(ctx, "SELECT checksum FROM upbeat_migrations WHERE version = $1", m.Version).Scan(&checksum)
		if err == nil {
			return m.Check(checksum)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec(ctx, m.SQL); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES ($1, $2, $3)", m.Version, m.Name, m.Checksum)
		if err != nil {
			return err
		}
		applied = true
		return nil
	})
	return applied, err
}

// prepareVersions makes the schema and the table of what was applied. It asks before it makes: a role that may not create
// schemas can still migrate in one that is there.
func (db *DB) prepareVersions(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text)", db.cfg.Schema).Scan(&exists)
	if err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+db.schema); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS upbeat_migrations (version integer PRIMARY KEY, name text NOT NULL, "+
		"checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())")
	return err
}
