package queue

import (
	"context"
	"errors"
	"time"
)

// Tracker keeps what a queue has accepted, so that it survives the process. The stores of this library are such trackers, though neither side imports the
// other: the types of the records are aliases of unnamed structs. All methods have to be safe for concurrent use.
//
// An error that has a method IsTransient() bool which says so is an outage: worth repeating, and perhaps the work was done.
// Any other means that what was asked for is wrong, and that nothing of it was done. Package queuetest tests trackers.
type Tracker interface {
	// Hold gets or renews owner's lease on the queue for d from now, by the tracker's clock. lapsed says that the lease had
	// run out in between, so that others may have taken over some requests.
	Hold(ctx context.Context, queue, owner string, d time.Duration) (lapsed bool, err error)

	// Accept stores new requests as owner's, durably, in one transaction, in any order. known are those whose ID was there
	// already, as stored. After an error none is known to be stored; accepting the same again is safe.
	Accept(ctx context.Context, owner string, requests []TrackedRequest) (known []TrackedRequest, err error)

	// Transition writes the newest state of requests that owner holds and that are not finished: all but payload, key,
	// MaxAttempts and the time of creation. superseded are the IDs that owner doesn't hold, or that are finished with another outcome; those
	// are not touched. Repeating a call is safe.
	Transition(ctx context.Context, owner string, requests []TrackedRequest) (superseded []string, err error)

	// Unfinished hands over to owner up to limit unfinished requests whose owners have no lease that holds, oldest accepted
	// first. Two callers never get the same one.
	Unfinished(ctx context.Context, queue, owner string, limit int) ([]TrackedRequest, error)

	// Release ends owner's lease: what it has not finished is free for others at once.
	Release(ctx context.Context, queue, owner string) error

	// Request returns one request; found is false for an unknown ID.
	Request(ctx context.Context, queue, id string) (r TrackedRequest, found bool, err error)

	// RecordQueue adds samples. The same queue, worker, shard and time twice is one.
	RecordQueue(ctx context.Context, samples []Sample) error
}

// States of a request. The last three are final.
const (
	StatusQueued     = "queued"
	StatusProcessing = "processing"
	StatusCompleted  = "completed"
	StatusFailed     = "failed"
	StatusCancelled  = "cancelled"
)

// TrackedRequest is a job as the tracker keeps it. Payload and Result are JSON.
type TrackedRequest = struct {
	Queue       string        `json:"queue"`
	ID          string        `json:"id"`
	Key         string        `json:"key,omitempty"`
	Priority    int           `json:"priority,omitempty"`
	Deadline    time.Time     `json:"deadline,omitzero"`
	Payload     []byte        `json:"payload,omitempty"`
	Status      string        `json:"status"`
	Worker      string        `json:"worker,omitempty"`
	Attempts    int           `json:"attempts"`
	MaxAttempts int           `json:"max_attempts,omitempty"` // Job.Attempts
	Created     time.Time     `json:"created_at"`
	Queued      time.Time     `json:"queued_at,omitzero"`
	Started     time.Time     `json:"started_at,omitzero"`
	Completed   time.Time     `json:"completed_at,omitzero"`
	Processing  time.Duration `json:"processing_ns,omitempty"`
	Steps       []StepRecord  `json:"steps,omitempty"`
	Result      []byte        `json:"result,omitempty"`
	Error       string        `json:"error,omitempty"`
	Owner       string        `json:"owner,omitempty"`
}

// StepRecord is one step of a task, see [Step].
type StepRecord = struct {
	Name    string        `json:"name"`
	Attempt int           `json:"attempt"`
	Started time.Time     `json:"started_at"`
	Took    time.Duration `json:"took_ns"`
	Result  []byte        `json:"result,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// Sample says how one shard stood in one process at one time.
type Sample = struct {
	Queue     string    `json:"queue"`
	Worker    string    `json:"worker"`
	Shard     int       `json:"shard"`
	At        time.Time `json:"at"`
	Depth     int       `json:"depth"`
	Active    int       `json:"active"`
	Processed int64     `json:"processed"`
	Failed    int64     `json:"failed"`
	Refused   int64     `json:"refused"`
}

var (
	// ErrUnknown is the error of a submission whose commit was cut short: the job may be accepted or not. Submitting it again
	// with the same ID is safe. If it was stored, it will be run, here or elsewhere, also if nobody submits it again.
	ErrUnknown = errors.New("queue: unknown whether the job was stored")

	// ErrOutage refuses a job since the tracker can't be reached. It was not stored.
	ErrOutage = errors.New("queue: the tracker can't be reached")

	// ErrElsewhere says that a job of that ID was accepted already, and is another process's to finish. [Queue.Request] tells how it is doing.
	ErrElsewhere = errors.New("queue: another process has that job")
)

// RecordedError is the error of a job that has failed earlier, perhaps in another process, as the tracker has kept it.
type RecordedError struct{ Text string }

// Error returns the text of the error that was recorded.
func (e *RecordedError) Error() string { return e.Text }

func isTransient(err error) bool {
	t, ok := errors.AsType[interface {
		error
		IsTransient() bool
	}](err)
	return ok && t.IsTransient() || errors.Is(err, context.DeadlineExceeded)
}

func final(status string) bool {
	return status == StatusCompleted || status == StatusFailed || status == StatusCancelled
}
