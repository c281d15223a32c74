package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/migration"
)

// SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	codeReadOnly      = "25006"
	codeNoPartition   = "23514" // a check violation: the tables have no checks but their partition bounds
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"
)

func codeOf(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// wrap names the operation and marks the errors that aren't the fault of what the caller gave. That was checked before
// anything was sent, and all SQL is ours: only what the server itself says of data and limits is held against it.
func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	named := fmt.Errorf("postgres: %s: %w", operation, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, migration.ErrChanged) {
		return named
	}
	if code := codeOf(err); strings.HasPrefix(code, "22") || strings.HasPrefix(code, "54") {
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
