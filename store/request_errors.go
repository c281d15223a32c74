package store

import (
	"errors"
	"fmt"
)

// RowError names one request or sample that was refused, and why. It is refused again whenever it comes.
type RowError struct {
	Index  int    // in the batch
	Queue  string // as given: any bytes
	ID     string // of the request, or the worker of the sample; as given
	Reason string
}

// Error describes the row on one line; its names are quoted and cut where they are long.
func (e *RowError) Error() string {
	return fmt.Sprintf("row %d (queue %q, id %q): %s", e.Index, cut(e.Queue), cut(e.ID), e.Reason)
}

// FailedIndex is Index, for those who know the error by this method alone.
func (e *RowError) FailedIndex() int { return e.Index }

func cut(name string) string {
	if len(name) > 80 {
		return name[:80] + "..."
	}
	return name
}

// RefusedRowsError names all requests or samples of a batch that can't be stored. What it means for the others is said by the method
// that returns it.
type RefusedRowsError struct {
	// Rows are in the order of the batch; there is at least one.
	Rows []*RowError
}

// Error gives the number of rows and the first of them.
func (e *RefusedRowsError) Error() string {
	if len(e.Rows) == 1 {
		return "store: refused " + e.Rows[0].Error()
	}
	return fmt.Sprintf("store: refused %d rows, the first: %s", len(e.Rows), e.Rows[0])
}

// Unwrap gives each row's error.
func (e *RefusedRowsError) Unwrap() []error {
	errs := make([]error, len(e.Rows))
	for i, r := range e.Rows {
		errs[i] = r
	}
	return errs
}

// What Validate finds amiss. Each comes with the names of the migrations.
var (
	// ErrNotMigrated means that migrations of this version are still to be applied. Any call can meet it, as an outage that passes
	// when somebody calls Migrate: see IsTransient.
	ErrNotMigrated = errors.New("store: not migrated")

	// ErrMigrationChanged means that a migration is no longer what was applied.
	ErrMigrationChanged = errors.New("store: an applied migration was changed")

	// ErrNewerSchema means that a newer version of this library has migrated. It is no trouble as such: an older one
	// goes on beside it during a deployment.
	ErrNewerSchema = errors.New("store: migrated by a newer version")
)
