package queue

import (
	"errors"
	"fmt"
	"time"
)

// Job is what a producer submits. The zero Job is valid: an anonymous one with a zero payload.
type Job[T any] struct {
	// ID names the job, and is unique among unfinished ones. Jobs with an empty ID are anonymous: any number of them
	// may be queued. With a tracker every job has an ID: one is made up for those that have none.
	ID string

	// Key puts jobs in order: those with the same Key are handled one after the other, as they were submitted.
	Key string

	// Payload is handed to the handler as it is. Without a tracker the queue doesn't look at it; with one it is kept as JSON.
	Payload T

	// Priority lets jobs pass others that wait: the higher goes first, -100 to 100. Jobs of the same Key keep their order.
	Priority int

	// Deadline, unless zero, is when the job is no longer wanted: if it still waits then, it is not run; if it runs, its
	// context ends. Either way its ticket says [ErrExpired], and it is not tried again.
	Deadline time.Time

	// Attempts is how often the job is tried at most, 1 to 1,000; 0 is as Config.Retry says.
	Attempts int
}

const (
	maxPriority = 100
	maxAttempts = 1_000
)

func (j *Job[T]) validate() error {
	if j.Priority|j.Attempts == 0 {
		return nil
	}
	var errs []error
	if j.Priority < -maxPriority || j.Priority > maxPriority {
		errs = append(errs, fmt.Errorf("queue: Job.Priority is %d: want -%d to %d", j.Priority, maxPriority, maxPriority))
	}
	if j.Attempts < 0 || j.Attempts > maxAttempts {
		errs = append(errs, fmt.Errorf("queue: Job.Attempts is %d: want 1 to %d, or 0", j.Attempts, maxAttempts))
	}
	return errors.Join(errs...)
}

// Task is a job in the hands of its handler. It is the worker's own and is used again for its next task: a handler
// copies what is to outlive its return, and never keeps the pointer.
type Task[T any] struct {
	Job[T]

	// Attempt counts up from 1.
	Attempt int

	// Queued is when the job was submitted. For an anonymous job of Go it may be zero: of those the clock is read for
	// the first thousand of a second in each shard and for one of 64 thereafter.
	Queued time.Time

	books bookkeeper
}
