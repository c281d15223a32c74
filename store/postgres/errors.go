package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

	codeStatementThere = "42P05" // of class 42, but a pooler's doing
)

func codeOf(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// permanent are the classes of errors that no waiting mends: data and limits; roles, rights and passwords; a database or a schema that
// isn't there, tables that nobody has migrated.
var permanent = []string{"22", "28", "3D", "3F", "42", "54"}

// wrap names the operation and marks the errors that aren't the fault of what the caller gave.
func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	named := fmt.Errorf("postgres: %s: %w", operation, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrMigrationChanged) {
		return named
	}
	code := codeOf(err)
	if code == codeNoStatement || code == codeStatementThere {
		named = fmt.Errorf("%w (behind a PgBouncer without max_prepared_statements, add default_query_exec_mode=exec to the dsn)", named)
		return store.MarkTransient(named)
	}
	if slices.ContainsFunc(permanent, func(class string) bool { return strings.HasPrefix(code, class) }) {
		return named
	}
	return store.MarkTransient(named)
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
		return true
	case codeReadOnly:
		db.pool.Reset()
		return true
	}
	return pgconn.SafeToRetry(err)
}
