package queue

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

var (
	// ErrFull is what errors.Is finds in the refusal of a full shard. The error itself is a [*FullError].
	ErrFull = errors.New("queue: full")

	// ErrClosed refuses jobs once the context of Run has ended.
	ErrClosed = errors.New("queue: closed")

	// ErrNotRun is what errors.Is finds on the ticket of a job that was still waiting when the drain ran out of time.
	// Its handler was never called.
	ErrNotRun = errors.New("queue: not run")

	// ErrCancelled is the outcome of a task that was cancelled, and the context.Cause that its handler sees.
	ErrCancelled = errors.New("queue: cancelled")

	// ErrExpired is the outcome of a task whose Job.Deadline has passed, and the context.Cause that its handler sees. Submit
	// says so of a job whose deadline has passed already.
	ErrExpired = errors.New("queue: deadline passed")

	// ErrSuperseded is the outcome of a task that another process has taken over, since this one had lost its lease, and the
	// context.Cause that its handler sees.
	ErrSuperseded = errors.New("queue: superseded by another process")

	// ErrDrainTimeout is the context.Cause that handlers see when the drain has run out of time.
	ErrDrainTimeout = errors.New("queue: drain timeout")

	// ErrGoexit is the error of a task whose handler ended its goroutine with runtime.Goexit, as a failing assertion
	// of package testing does.
	ErrGoexit = errors.New("queue: handler called runtime.Goexit")
)

var errDropped = fmt.Errorf("%w: %w", ErrNotRun, ErrDrainTimeout)

// FullError refuses a job because its shard has no room. For a job with neither Key nor ID no shard had room.
type FullError struct {
	Shard int // index of the shard that refused
	Depth int // jobs waiting in it

	// RetryAfter is when to try again: the time in which half of the shard drains, Depth / 2 / rate, so that work does
	// not run dry while the refused stay away. The rate is that at which ended tasks have made room for jobs of this
	// shard while it wasn't empty, over the last 8 to 16 seconds of such time. RetryAfter is kept within 100 ms and a
	// minute. Before any task has made room it is as long as that has been so, and at least 1 s.
	RetryAfter time.Duration
}

// Error names the shard, its depth and when to try again.
func (e *FullError) Error() string {
	return fmt.Sprintf("queue: full: %d jobs wait in shard %d: retry after %s", e.Depth, e.Shard, e.RetryAfter)
}

// Unwrap returns ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

// PanicError is the error of a task whose handler panicked.
type PanicError struct {
	Value any    // what the handler panicked with
	Stack []byte // the handler's stack, as debug.Stack prints it
}

// Error describes the panic's value. The stack isn't part of it.
func (e *PanicError) Error() string { return fmt.Sprintf("queue: handler panicked: %v", e.Value) }

// Unwrap returns the panic's value where that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func newPanicError(value any) *PanicError {
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// DrainError is returned by Run when accepted jobs could not be finished within Config.DrainTimeout.
type DrainError struct {
	Timeout   time.Duration // the time that the drain was given
	NotRun    int           // jobs that were dropped while waiting; their tickets say ErrNotRun
	Cancelled int           // handlers that ran when time was up, and ended once their context was cancelled
	Stuck     []StuckTask   // handlers that ignored that: their goroutines are left behind
}

// StuckTask is a task whose handler runs for too long, or ignores the end of its context.
type StuckTask struct {
	ID      string        `json:"id"`                 // as submitted; empty for an anonymous job
	Queued  time.Time     `json:"queued_at,omitzero"` // when it was submitted; as Task.Queued it may be zero
	Running time.Duration `json:"running_ns"`         // for how long its handler has run at least, to the second
	Attempt int           `json:"attempt"`            // counts from 1
}

// stuckNamed is how many stuck tasks a DrainError names in its text.
const stuckNamed = 5

// Error gives the counts and names the first few stuck tasks.
func (e *DrainError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "queue: drain timed out after %s: %d jobs not run, %d handlers cancelled", e.Timeout, e.NotRun, e.Cancelled)
	if len(e.Stuck) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, ", %d handlers ignore their context:", len(e.Stuck))
	for _, t := range e.Stuck[:min(stuckNamed, len(e.Stuck))] {
		fmt.Fprintf(&b, " %q", t.ID)
		if !t.Queued.IsZero() {
			fmt.Fprintf(&b, " (queued at %s)", t.Queued.UTC().Format(time.RFC3339))
		}
	}
	return b.String()
}

// Unwrap returns ErrDrainTimeout.
func (e *DrainError) Unwrap() error { return ErrDrainTimeout }
