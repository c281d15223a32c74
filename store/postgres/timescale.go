package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// useTimescale turns the partitioned tables into hypertables of one chunk a day where TimescaleDB is there before the tables
// have had their first partition: at the first Migrate, that is. What kind of table there is then is the record of it.
// Nothing but hypertables and drop_chunks is used, which the Apache edition has, too.
func (db *DB) useTimescale(ctx context.Context) error {
	return db.exclusively(ctx, migrateLockTimeout, func(tx pgx.Tx) error {
		extension, err := timescaleSchema(ctx, tx)
		if err != nil || extension == "" {
			return err
		}
		for _, t := range []*partitions{&db.log, &db.rollups} {
			hyper, days, err := t.read(ctx, tx, db.schema)
			if err != nil {
				return err
			}
			if hyper || len(days) > 0 {
				continue
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf(toHypertableSQL, t.table, t.column, extension)); err != nil {
				return err
			}
			db.cfg.Logger.InfoContext(ctx, "postgres: hypertable made", "table", t.table)
		}
		return nil
	})
}

// The key has all that a hypertable needs of indexes.
const toHypertableSQL = `
ALTER TABLE %[1]s RENAME TO upbeat_partitioned;
CREATE TABLE %[1]s (LIKE upbeat_partitioned INCLUDING ALL);
DROP TABLE upbeat_partitioned;
SELECT %[3]s.create_hypertable('%[1]s'::regclass, '%[2]s'::name, chunk_time_interval => interval '1 day', create_default_indexes => false)`

// timescaleSchema is where the functions of TimescaleDB are, quoted, or "" where there are none.
func timescaleSchema(ctx context.Context, tx pgx.Tx) (schema string, err error) {
	err = tx.QueryRow(ctx, "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "+
		"WHERE e.extname = 'timescaledb'").Scan(&schema)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return schema, err
}

// dropChunks drops the chunks whose days lie wholly before oldest.
func (p *partitions) dropChunks(ctx context.Context, db *DB, oldest day) error {
	err := db.retry(ctx, func() error {
		return db.exclusively(ctx, dropLockTimeout, func(tx pgx.Tx) error {
			extension, err := timescaleSchema(ctx, tx)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "SELECT "+extension+".drop_chunks($1::text::regclass, older_than => $2::timestamptz)", p.table, oldest.start())
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("drop chunks of %s: %w", p.table, err)
	}
	return nil
}
