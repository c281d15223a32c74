package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/upbeat-go/upbeat/store"
)

// SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	codeReadOnly      = "25006"
	codeNoStatement   = "26000"
	codeNoPartition   = "23514" // a check violation: the tables have no checks but their partition bounds
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"

	codeStatementThere = "42P05"
	codeNoTable        = "42P01"
	codeNoColumn       = "42703"
	codeNoSchema       = "3F000"
)

func codeOf(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// classOf is the class of an error: the first two characters of its code.
func classOf(err error) string {
	code := codeOf(err)
	return code[:min(2, len(code))]
}

// wrap names the operation and marks the errors that aren't the fault of what the caller gave. All statements are ours and fixed:
// what is said of a table, a right or a password is the store's trouble, and only data and limits (of an index, say) are the caller's.
func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	named := fmt.Errorf("postgres: %s: %w", operation, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrMigrationChanged) {
		return named
	}
	switch codeOf(err) {
	case codeNoStatement, codeStatementThere:
		named = fmt.Errorf("%w (behind a PgBouncer without max_prepared_statements, add default_query_exec_mode=exec to the dsn)", named)
	case codeNoTable, codeNoColumn, codeNoSchema:
		named = fmt.Errorf("postgres: %s: %w: call Migrate: %w", operation, store.ErrNotMigrated, err)
	}
	if class := classOf(err); class == "22" || class == "54" {
		return named
	}
	return store.MarkTransient(named)
}

// wrapOpen is wrap for Open, to which a password, a role and a database are given.
func wrapOpen(err error) error {
	switch classOf(err) {
	case "28", "3D", "42":
		return fmt.Errorf("postgres: open: %w", err)
	}
	return wrap("open", err)
}

const (
	maxRetries    = 8
	maxRetryPause = 500 * time.Millisecond
)

// retry repeats an operation that left nothing behind and can succeed at once: it lost a deadlock, a serialization or a
// lock to somebody else, met a partition that was just dropped or a server that is no longer the primary, or never
// reached the server.
func (db *DB) retry(ctx context.Context, operation func() error) error {
	for attempt := 0; ; attempt++ {
		err := operation()
		if err == nil || attempt == maxRetries || !db.retryable(err) {
			return err
		}
		db.retries.Add(1)
		db.cfg.Logger.DebugContext(ctx, "postgres: retrying", "attempt", attempt+1, "error", err)
		pause := time.NewTimer(rand.N(min(10*time.Millisecond<<attempt, maxRetryPause)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}

func (db *DB) retryable(err error) bool {
	switch codeOf(err) {
	case codeDeadlock, codeSerialization, codeLockTimeout:
		return true
	case codeNoPartition:
		db.log.forget()
		db.rollups.forget()
		db.pool.Reset() // a server process was seen that never noticed a partition which others had added: the next try asks a new one
		return true
	case codeReadOnly:
		db.pool.Reset()
		return true
	}
	return pgconn.SafeToRetry(err)
}
