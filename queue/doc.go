// Package queue is a bounded work queue: it runs a handler over jobs, a fixed number at a time, and says no at once when it
// has no room, instead of growing until the process falls over. With a tracker it remembers what it accepted, and finishes it after a crash.
//
//	q, err := queue.New(geocode, queue.Config{Tracker: db})
//	wg.Go(func() { runErr = q.Run(ctx) })
//	ticket, err := q.Submit(ctx, queue.Job[Address]{ID: "order-17", Payload: address})
//	if full, ok := errors.AsType[*queue.FullError](err); ok {
//		return tooBusy(full.RetryAfter)
//	}
//	point, err := ticket.Wait(ctx)
//
// # Guarantees
//
//   - At most Shards × ShardCapacity jobs wait and at most Concurrency handlers run. Jobs between two attempts keep their place: if handlers fail, up to
//     Concurrency more may wait. No memory is set aside for jobs that might come.
//   - Submit and Go never wait for room and never run a handler: a full shard refuses with a [FullError] that says
//     when to come back. So a handler may submit to its own queue.
//   - Each accepted job is handed to the handler once, and once more for each further attempt, or its ticket says why not. Once Run is
//     called, each ticket is resolved, that of a handler as soon as it returns.
//   - Jobs of the same Key are handled one after the other in the order of their submission, those of different keys never wait
//     for each other: while fewer than Concurrency handlers run, a job that is free to start waits no longer than it takes to start a goroutine,
//     whatever its shard. Within a shard, jobs without a Key are taken by priority, then in the order of their submission.
//   - An ID is unique among the unfinished: submitting it again joins the first job.
//   - A handler that panics or calls runtime.Goexit fails its own task alone.
//   - A job that is cancelled, or whose deadline passes, is told so at once, wherever it is, and gives back its place if it waits.
//   - What a task doesn't ask for costs it nothing: a job of Go without ID, Key and Deadline allocates nothing.
//
// With a tracker (see [Config.Tracker]) also:
//
//   - What was accepted is stored before Submit returns, survives the death of the process, and is finished by another process of
//     the same queue, or by the next one. An ID that the tracker knows is never accepted a second time.
//   - One outcome is recorded for each job. A process that was stopped for longer than its lease is told what others have taken
//     over meanwhile: those tasks are cancelled, and nothing that they do is recorded.
//   - Steps that were recorded (see [Step]) are not done again, and attempts that have failed count wherever the next one is made. One that was cut
//     short, by a drain or by the death of the process, does not.
//   - A tracker that can't be reached never stops what was accepted. Whether new jobs are refused then or accepted untracked is yours to say.
//
// # Not guaranteed
//
// Without a tracker, what the queue holds is gone when the process dies. With one, a task may be run more than once, since a process may die between
// the end of a handler and its record: make handlers idempotent by ID. What was taken over is ordered by key only
// among what was taken over with it; where the shard of its key is full, it waits for room there, as a guest of another shard. A handler that ignores its
// context keeps its worker until it returns; [Queue.Stuck] names it. A panic in a goroutine that a handler has started ends the process, as everywhere in Go.
//
// # Cost
//
// Measured with 4,000 workers on two processors that had little else to do, in internal/bench, each beside the others in one run; where other programs
// want the processors, too, the first two vary widely.
//
//   - An empty task of Go, to its end, takes an eighth to a quarter of the time that it takes in pond and a tenth of that in ants, from one submitter and from many
//     (-bench 'Queue_(EmptyTask|ParallelSubmitters)').
//   - In units of such a task: one with a Key of 1,000 takes 2, one with a Priority 5, one with a ticket 6 (two allocations, 230 bytes), with a ticket and
//     a handler that looks at its context 10, with a ticket and an ID 10, with a ticket and a Deadline 11; to submit one and Wait for it,
//     one after the other, 24 (-bench Queue_Items).
//   - 40,000 tasks that sleep 100 ms, 4,000 at once, take 1.036 s; as many goroutines that sleep by themselves 1.023 s, workers on a channel and pond
//     1.04 s (-bench Queue_Sleeping).
//   - With a tracker on Postgres that commits to the disk, 64 submitters' jobs take a fifth of what River takes to insert and work on them
//     (-bench Queue_Tracked).
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
// still wait are dropped, the contexts of running handlers are cancelled, and Run returns a [DrainError]. With a tracker nothing of
// that is lost: it is left to others, who need not wait for the lease to end. What a handler returns after its context was cancelled counts as the task's
// own end if it is no error, one marked [Permanent], or one of a handler that has never looked at its context; any other error might be the drain's doing.
// Wait for Run to return before main does.
package queue
