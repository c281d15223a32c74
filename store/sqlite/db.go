package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	_ "modernc.org/sqlite" // the driver named sqlite

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
)

// DB is a store in one SQLite file. It is safe for concurrent use. Make it with Open.
type DB struct {
	cfg    Config
	writer *sql.DB // one connection: SQLite has one writer at a time, and waiting here is fair and obeys a context
	reader *sql.DB // many: in WAL mode they neither wait for the writer nor hold it up

	accepting *groupcommit.Group[acceptance, []store.Request]
}

// Open opens the file at path, or makes it; its folder must be there, on a local disk. Call Migrate before anything else, and
// Close at the end. There is no store in memory: use a file in a temporary folder.
func Open(ctx context.Context, path string, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if path == "" || strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:") {
		return nil, fmt.Errorf("sqlite: path is %q: want the path of a file; for a store that doesn't last, one in a temporary folder", path)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	writer, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", dsn(path, "query_only(true)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %w", err), writer.Close())
	}
	reader.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	db := &DB{cfg: cfg, writer: writer, reader: reader}
	db.accepting = db.groupAccepts()
	mode, err := db.journalMode(ctx)
	if err != nil {
		return nil, errors.Join(wrap(ctx, "open "+path, err), db.Close())
	}
	if mode != "wal" {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: journal mode is %s, want wal: is the file on a local disk?", path, mode), db.Close())
	}
	return db, nil
}

// dsn is the URI of a file, whatever characters its path has.
func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a Windows drive
	}
	query := url.Values{"_txlock": {"immediate"}, "_pragma": append(pragmas, fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// journalMode opens the file and tells its mode: where the file system has no shared memory, SQLite stays in another one than WAL
// and doesn't say so.
func (db *DB) journalMode(ctx context.Context) (mode string, err error) {
	err = retry(ctx, func() error { return db.writer.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode) })
	return mode, err
}

// Close waits for calls in progress and closes the file. The DB is of no use after it.
func (db *DB) Close() error {
	if err := errors.Join(db.reader.Close(), db.writer.Close()); err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}

// write runs fn in a transaction that is the only writer from its start.
func (db *DB) write(ctx context.Context, fn func(*sql.Tx) error) error {
	return retry(ctx, func() error {
		tx, err := db.writer.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return errors.Join(err, ignoreDone(tx.Rollback()))
		}
		return tx.Commit()
	})
}

// ignoreDone drops the complaint that the end of the context has rolled back already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
