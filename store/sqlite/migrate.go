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

// Migrate brings the file up to date, each migration in a transaction of its own. It blocks until that is done. Any
// number of processes may call it at the same time. A migration that was changed after it had been applied is an
// error; one applied by a newer version of this package is left alone.
func (db *DB) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	migrations, err := migration.Load(files)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	for _, m := range migrations {
		if err := db.write(ctx, func(tx *sql.Tx) error { return apply(ctx, tx, m) }); err != nil {
			return wrap(ctx, "migrate: "+m.Name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, tx *sql.Tx, m migration.Migration) error {
	if _, err := tx.ExecContext(ctx, versionsSQL); err != nil {
		return err
	}
	var applied string
	err := tx.QueryRowContext(ctx, "SELECT checksum FROM upbeat_migrations WHERE version = ?", m.Version).Scan(&applied)
	if err == nil {
		_, err := migration.Compare([]migration.Migration{m}, []migration.Applied{{Version: m.Version, Name: m.Name, Checksum: applied}})
		return err
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO upbeat_migrations (version, name, checksum) VALUES (?, ?, ?)", m.Version, m.Name, m.Checksum)
	return err
}
