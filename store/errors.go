package store

import (
	"errors"
	"fmt"
	"time"
)

// MessageError names one message that was refused, and why. Recording that message again is refused again. Of a change of uptime the
// ID is its service/instance.
type MessageError struct {
	Index  int       // in the batch given to Record
	ID     string    // as given: any bytes
	At     time.Time // as given
	Reason string
}

// Error describes the message on one line; its ID is quoted and cut where it is long.
func (e *MessageError) Error() string {
	id := e.ID
	if len(id) > 80 {
		id = id[:80] + "..."
	}
	return fmt.Sprintf("message %d (id %q, at %s): %s", e.Index, id, e.At.UTC().Format(time.RFC3339Nano), e.Reason)
}

// FailedIndex is Index, for those who know the error by this method alone.
func (e *MessageError) FailedIndex() int { return e.Index }

// RefusedError is returned by Record when some messages were refused and all others are stored.
type RefusedError struct {
	// Messages are in the order of the batch; there is at least one.
	Messages []*MessageError
}

// Error gives the number of messages and the first of them.
func (e *RefusedError) Error() string {
	if len(e.Messages) == 1 {
		return "store: refused " + e.Messages[0].Error()
	}
	return fmt.Sprintf("store: refused %d messages, the first: %s", len(e.Messages), e.Messages[0])
}

// Unwrap gives each message's error.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Messages))
	for i, m := range e.Messages {
		errs[i] = m
	}
	return errs
}

// IsTransient reports whether err is the store's trouble and not that of what it was given: the same call can
// succeed later, unchanged. A lost connection, a deadline, an exhausted pool, a full disk, tables that nobody has migrated yet
// ([ErrNotMigrated]), and a right or a password that was taken away are transient; a refused message and the caller's own cancellation are
// not, nor are mistakes that Open and Validate find: call those at the start of a service. It doesn't mean that an immediate retry makes
// sense: wait, and watch your context.
func IsTransient(err error) bool {
	marked, ok := errors.AsType[interface {
		error
		IsTransient() bool
	}](err)
	return ok && marked.IsTransient()
}

// MarkTransient returns err so that IsTransient is true of it. It is for authors of stores.
func MarkTransient(err error) error {
	if err == nil {
		return nil
	}
	return &transientError{err}
}

type transientError struct{ error }

func (e *transientError) Unwrap() error   { return e.error }
func (*transientError) IsTransient() bool { return true }
