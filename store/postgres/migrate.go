package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
// after it had been applied is an error, [store.ErrMigrationChanged]; one applied by a newer version of this package is left alone.
func (db *DB) Migrate(ctx context.Context) error {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	for _, m := range migrations {
		var applied bool
		err := db.retry(ctx, func() (err error) {
			return db.exclusively(ctx, migrateLockTimeout, func(tx pgx.Tx) error { applied, err = db.apply(ctx, tx, m); return err })
		})
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
	return wrap("migrate", errors.Join(db.addPartitions(ctx), db.addRequestPartitions(ctx)))
}

// Validate tells whether the schema is what this version needs, and changes nothing: its error is [store.ErrNotMigrated],
// [store.ErrMigrationChanged], [store.ErrNewerSchema], or several of them joined. Call it at the start of a service that
// doesn't migrate by itself.
func (db *DB) Validate(ctx context.Context) error {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	var applied []migration.Applied
	err = db.retry(ctx, func() error {
		var exists bool
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		table := db.schema + ".upbeat_migrations"
		if err := conn.QueryRow(ctx, "SELECT to_regclass($1::text) IS NOT NULL", table).Scan(&exists); err != nil || !exists {
			return err
		}
		rows, err := conn.Query(ctx, "SELECT version, name, checksum FROM "+table+" ORDER BY version")
		if err != nil {
			return err
		}
		applied, err = pgx.CollectRows(rows, pgx.RowToStructByPos[migration.Applied])
		return err
	})
	if err != nil {
		return wrap("validate", err)
	}
	if err := migration.Validate(migrations, applied); err != nil {
		return fmt.Errorf("postgres: validate: %w", err)
	}
	return nil
}

var errDryRun = errors.New("dry run")

// DryRun does what Migrate would do, all in one transaction, and takes it back. It returns the names of the migrations that Migrate
// would apply, or the error that it would meet. While it runs, it holds the locks that they need.
func (db *DB) DryRun(ctx context.Context) (pending []string, err error) {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	err = db.retry(ctx, func() error {
		pending = nil
		return db.exclusively(ctx, migrateLockTimeout, func(tx pgx.Tx) error {
			for _, m := range migrations {
				applied, err := db.apply(ctx, tx, m)
				if err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
				if applied {
					pending = append(pending, m.Name)
				}
			}
			return errDryRun
		})
	})
	if !errors.Is(err, errDryRun) {
		return nil, wrap("dry run", err)
	}
	return pending, nil
}

const migrateLockTimeout = 0 // waits as long as the context does

// apply reports whether it was the one that applied m.
func (db *DB) apply(ctx context.Context, tx pgx.Tx, m migration.Migration) (applied bool, err error) {
	if err := db.prepareVersions(ctx, tx); err != nil {
		return false, err
	}
	known := migration.Applied{Version: m.Version, Name: m.Name}
	err = tx.QueryRow(ctx, "SELECT checksum FROM upbeat_migrations WHERE version = $1", m.Version).Scan(&known.Checksum)
	if err == nil {
		_, err = migration.Compare([]migration.Migration{m}, []migration.Applied{known})
		return false, err
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	if _, err := tx.Exec(ctx, m.SQL); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES ($1, $2, $3)", m.Version, m.Name, m.Checksum)
	return err == nil, err
}

// prepareVersions makes the schema and the table of what was applied. It asks before it makes: a role that may not create
// schemas can still migrate in one that is there, and one that may not create tables finds that all is done.
func (db *DB) prepareVersions(ctx context.Context, tx pgx.Tx) error {
	var schema, table bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text), to_regclass('upbeat_migrations') IS NOT NULL",
		db.cfg.Schema).Scan(&schema, &table)
	if err != nil || table {
		return err
	}
	if !schema {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+db.schema); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, versionsSQL)
	return err
}

const versionsSQL = "CREATE TABLE IF NOT EXISTS upbeat_migrations (version integer PRIMARY KEY, name text NOT NULL, " +
	"checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"

// Script returns one SQL script that does what Migrate does to a schema ("" for "public"), but for the first partitions: those are
// made by Maintain. It is for those who give SQL to somebody else to run, with psql for instance, as one transaction. It can be run
// again, and after a Migrate: what was applied is left out. Validate is content after it.
func Script(schema string) (string, error) {
	cfg, err := Config{Schema: schema}.withDefaults()
	if err != nil {
		return "", err
	}
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	quoted := pgx.Identifier{cfg.Schema}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN;\nCREATE SCHEMA IF NOT EXISTS %[1]s;\nSET LOCAL search_path = %[1]s;\n%[2]s;\n", quoted, versionsSQL)
	for _, m := range migrations {
		fmt.Fprintf(&b, "\nDO $upbeat_script$ BEGIN\nIF EXISTS (SELECT FROM upbeat_migrations WHERE version = %[1]d) THEN RETURN; END IF;\n"+
			"EXECUTE $upbeat_migration$\n%[4]s$upbeat_migration$;\n"+
			"INSERT INTO upbeat_migrations (version, name, checksum) VALUES (%[1]d, '%[2]s', '%[3]s');\nEND $upbeat_script$;\n",
			m.Version, m.Name, m.Checksum, m.SQL)
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}
