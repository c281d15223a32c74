package queue

import "time"

// Job is what a producer submits.
type Job[T any] struct {
	// ID names the job, and is unique among unfinished ones. Jobs with an empty ID are anonymous: any number of them
	// may be queued.
	ID string

	// Key chooses the shard: jobs with the same Key wait in the same one. Without it the ID chooses, and without both
	// the shards take turns.
	Key string

	// Payload is handed to the handler as it is. The queue doesn't look at it.
	Payload T
}

// Task is a job in the hands of its handler. It is the worker's own and is used again for its next task: a handler
// copies what is to outlive its return, and never keeps the pointer.
type Task[T any] struct {
	Job[T]

	// Queued is when the job was submitted.
	Queued time.Time
}
