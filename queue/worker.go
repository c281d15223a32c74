package queue

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// worker is what one handler at a time runs on: a goroutine that takes tasks while there are any. The struct outlives
// the goroutine, to be used again.
type worker[T, R any] struct {
	queue     *Queue[T, R]
	start     func() // run, bound once: starting a goroutine then allocates nothing
	searching bool   // this worker is the searching one
	at, stay  int    // the shard whose turn it is, and for how many tasks it still is

	task    Task[T]
	bookMu  sync.Mutex
	steps   *book         // of the task in hand; made by its first step
	began   time.Duration // if timed
	outcome outcome

	// The task in hand, for those who ask from outside. Written under out of some shard: who holds them all may read it.
	from    *shard[T, R]
	entry   entry[T, R] // zero if the job has nothing but a payload
	extra   bool        // it isn't
	queued  time.Duration
	timed   bool
	busy    bool
	taken   uint64        // counts up with each task
	watched uint64        // taken, as the monitor saw it last
	since   time.Duration // when the monitor saw that first
	stuck   bool          // the monitor has reported it
}

// outcome is how the worker's last task ended, until that is counted.
type outcome uint8

const (
	counted outcome = iota
	done
	failed
	cancelled
	expired
	superseded
	again // it will be tried again
)

const (
	// searchTurns is how often a searching worker lets others run before it gives up. It saves a submitter, who is
	// about to come back, the start of a goroutine.
	searchTurns = 16

	// stretch is how many tasks in a row a worker takes from one shard: going round at each would have all workers and
	// submitters meet at every mutex.
	stretch = 16
)

func (w *worker[T, R]) run() {
	for w.serve() {
	}
}

// serve handles tasks as long as it finds any. A panic or a Goexit of the handler ends it: it finishes the task while that unwinds, and reports true
// if it was a panic, so that it is called again. After a Goexit another goroutine goes on.
func (w *worker[T, R]) serve() (panicked bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		var none R
		if v := recover(); v != nil {
			p := newPanicError(v)
			w.queue.panics.log(w.queue.cfg.Logger, w.id(), p)
			w.finish(none, p)
			panicked = true
			return
		}
		w.finish(none, ErrGoexit)
		go w.start()
	}()
	for w.find() {
		ctx := w.begin()
		result, err := w.queue.handler(ctx, &w.task)
		w.finish(result, err)
	}
	returned = true
	w.retire()
	return false
}

// find takes the next task, and reports false when it has given up.
func (w *worker[T, R]) find() bool {
	for range searchTurns {
		if w.queue.crew.word.Load() < 0 { // paused, or too many
			w.settle()
			return false
		}
		if w.take() {
			if w.searching {
				w.found()
			}
			return true
		}
		if !w.search() {
			return false
		}
		runtime.Gosched()
	}
	return false
}

// take looks through the shards for a task. It stays with one for a stretch at most, so that none is left behind.
func (w *worker[T, R]) take() bool {
	q := w.queue
	if q.ranked.Load() > 0 {
		w.at, w.stay = q.foremost(w.at), 1
	}
	for range q.shards {
		if w.stay == 0 {
			w.turn()
		}
		if s := q.shards[w.at]; s.ready() {
			if w.outcome != counted && w.from != s {
				w.from.settle(w)
			}
			if s.take(w) {
				w.stay--
				return true
			}
		}
		w.turn()
	}
	w.settle()
	return false
}

// turn goes to the next shard.
func (w *worker[T, R]) turn() {
	w.stay = stretch
	if w.at++; w.at == len(w.queue.shards) {
		w.at = 0
	}
}

func (w *worker[T, R]) settle() {
	if w.outcome != counted {
		w.from.settle(w)
	}
}

// load makes the job at hand the worker's task.
func (w *worker[T, R]) load(s *shard[T, R], e *entry[T, R]) {
	w.from, w.busy, w.timed = s, true, e.timed
	w.taken++
	t := &w.task
	t.Payload, t.Attempt, t.books = e.payload, 1, w
	if e.queued != 0 {
		w.queued = e.queued
		t.Queued = w.queue.epoch.Add(e.queued)
	}
	if e.extra() || w.queue.cfg.Retry.Attempts > 1 {
		w.loadExtra(e)
	}
}

// loadExtra is for jobs that have more than a payload, or may need to be kept for another attempt.
func (w *worker[T, R]) loadExtra(e *entry[T, R]) {
	w.entry, w.extra = *e, true
	t := &w.task
	t.Attempt, t.Attempts, t.Priority = int(e.attempt)+1, int(e.attempts), int(e.priority)
	if e.lane != nil {
		t.Key = e.lane.key
	}
	if e.ticket != nil {
		t.ID, t.Deadline = e.ticket.id, e.ticket.context.deadline
	}
}

// unload forgets the task. The handler may have written to it.
func (w *worker[T, R]) unload() {
	w.task, w.outcome, w.busy, w.queued = Task[T]{}, counted, false, 0
	if w.extra {
		w.entry, w.extra = entry[T, R]{}, false
	}
	if w.steps != nil {
		w.steps = nil
	}
}

func (w *worker[T, R]) id() string {
	if w.entry.ticket == nil {
		return ""
	}
	return w.entry.ticket.id
}

// begin returns the context of the task in hand. If it has a ticket, it may be cancelled.
func (w *worker[T, R]) begin() context.Context {
	q := w.queue
	if w.timed {
		w.began = q.now()
		q.waits.record(w.began-w.queued, w.began)
	}
	t := w.entry.ticket
	if t == nil {
		return q.work
	}
	if t.more != nil && t.more.row != nil {
		q.ledger.start(t, w.task.Attempt)
	}
	return t.context
}

// finish settles what became of the task in hand. One that has a ticket is counted before that is resolved: who knows its
// outcome finds it in Stats. Any other is counted when the worker takes its next.
func (w *worker[T, R]) finish(result R, err error) {
	q := w.queue
	if w.timed {
		ended := q.now()
		q.runs.record(ended-w.began, ended)
	}
	w.outcome = done
	if err != nil {
		w.outcome = failed
		if w.entry.ticket != nil {
			w.entry.ticket.checkDeadline()
		}
		if q.retry(w, err) {
			return
		}
	}
	if w.entry.ticket != nil {
		w.resolve(result, err)
	}
}

func (w *worker[T, R]) resolve(result R, err error) {
	t := w.entry.ticket
	t.mu.Lock()
	t.state = ended
	cause := t.context.stopped
	t.mu.Unlock()
	t.context.end()
	if err != nil && cause != nil {
		w.outcome, err = outcomeOf(cause), stopped(cause, err)
	}
	how := w.outcome
	w.from.settle(w)
	w.queue.conclude(t, how, result, err)
}

// conclude tells the outcome of a task that has ended to all who want to know it.
func (q *Queue[T, R]) conclude(t *Ticket[R], how outcome, result R, err error) {
	if t.more != nil && t.more.timer != nil {
		t.more.timer.Stop()
	}
	if t.more != nil && t.more.row != nil {
		q.ledger.end(t, how, result, err) // its ID is known until the tracker has the outcome
	} else if t.id != "" {
		q.idsOf(t.id).leave(t)
	}
	t.resolve(result, err)
}
