package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/upbeat-go/upbeat/store"
)

// Primary result codes, https://www.sqlite.org/rescode.html.
const (
	codeError      = 1 // of all that is wrong with a statement
	codeBusy       = 5
	codeTooBig     = 18
	codeConstraint = 19
	codeMismatch   = 20
)

func codeOf(err error) int {
	if sqliteErr, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteErr.Code() & 0xff
	}
	return 0
}

// wrap names the operation and marks the errors that aren't the fault of what the caller gave. That was checked before:
// only what SQLite itself says of the data is held against it.
func wrap(ctx context.Context, operation string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = errors.Join(ctx.Err(), err) // SQLite says no more than that it was interrupted
	}
	named := fmt.Errorf("sqlite: %s: %w", operation, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrMigrationChanged) {
		return named
	}
	switch codeOf(err) {
	case codeTooBig, codeConstraint, codeMismatch:
		return named
	case codeError:
		if missing(err) {
			named = fmt.Errorf("sqlite: %s: %w: call Migrate: %w", operation, store.ErrNotMigrated, err)
		}
	}
	return store.MarkTransient(named)
}

// missing tells from its text whether err is about a table or a column that isn't there: SQLite has no code for that.
func missing(err error) bool {
	return slices.ContainsFunc([]string{"no such table", "no such column", "has no column named"},
		func(said string) bool { return strings.Contains(err.Error(), said) })
}

const (
	// SQLite's own wait for the writer of another process is deaf to a context: it is short.
	busyTimeout = 50 * time.Millisecond

	// How long we wait, and how often we look.
	patience  = 10 * time.Second
	busyPause = 20 * time.Millisecond
)

// retry repeats what failed because the file was busy, which has changed nothing.
func retry(ctx context.Context, operation func() error) error {
	start := time.Now()
	for {
		err := operation()
		if codeOf(err) != codeBusy || time.Since(start) > patience {
			return err
		}
		pause := time.NewTimer(rand.N(busyPause))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}
