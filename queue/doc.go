// Package queue is a bounded work queue for one process: it runs a handler over jobs, a fixed number at a time,
// and says no at once when it has no room, instead of growing until the process falls over.
//
//	q, err := queue.New(geocode, queue.Config{})
//	wg.Go(func() { runErr = q.Run(ctx) })
//	ticket, err := q.Submit(ctx, queue.Job[Address]{ID: "order-17", Payload: address})
//	if full, ok := errors.AsType[*queue.FullError](err); ok {
//		return tooBusy(full.RetryAfter)
//	}
//	point, err := ticket.Wait(ctx)
//
// # Guarantees
//
//   - At most Shards × ShardCapacity jobs wait and at most Concurrency handlers run. No memory is set aside for jobs
//     that might come.
//   - Submit and Go never wait for room and never run a handler: a full shard refuses with a [FullError] that says
//     when to come back. So a handler may submit to its own queue.
//   - Each accepted job is handed to the handler exactly once, or its ticket says [ErrNotRun] and Run's error counts
//     it. Once Run is called, each ticket is resolved, that of a handler as soon as it returns.
//   - A worker takes the work of any shard: while fewer than Concurrency handlers run, a job waits no longer than it
//     takes to start a goroutine. Within a shard, jobs are taken in the order of their submission.
//   - An ID is unique among the unfinished: submitting it again joins the first job.
//   - A handler that panics or calls runtime.Goexit fails its own task alone.
//
// # Not guaranteed
//
// The queue lives in memory: what it holds is gone when the process dies. Failed tasks are not tried again. Tasks
// that start in order run side by side, unless Concurrency is 1, so they may end in another order. A panic in a
// goroutine that a handler has started ends the process, as everywhere in Go.
//
// # Concurrency
//
// All methods of [Queue] and [Ticket] are safe for concurrent use. Workers are goroutines that start when there is
// work and end when there is none: an idle queue holds none, and quick tasks are handled by a few.
//
// # Shutdown
//
// Jobs are accepted from New on and wait until Run is called. When the context of Run ends, the queue refuses new
// jobs with [ErrClosed] and finishes what it has accepted, for as long as Config.DrainTimeout. After that, jobs that
// still wait are dropped, the contexts of running handlers are cancelled, and Run returns a [DrainError]. Wait for
// Run to return before main does.
package queue
