package queue

import (
	"context"
	"runtime"
	"time"
)

// worker is what one handler at a time runs on: a goroutine that takes tasks while there are any. The struct outlives
// the goroutine, to be used again.
type worker[T, R any] struct {
	queue     *Queue[T, R]
	start     func() // run, bound once: starting a goroutine then allocates nothing
	searching bool   // this worker is the searching one
	takes     uint   // counts up; every stretch of them goes to the next shard

	task    Task[T]
	outcome outcome

	// The task in hand, for those who ask from outside. Written under out of some shard: who holds them all may read it.
	from    *shard[T, R]
	entry   entry[T, R]
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
	returned := false
	defer func() {
		if !returned { // the handler has ended this goroutine: go on in another
			go w.start()
		}
	}()
	for w.find() {
		w.handle()
	}
	returned = true
	w.retire()
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
	if w.queue.ranked.Load() > 0 {
		w.takes = w.queue.foremost(w.takes/stretch) * stretch
	}
	shards := w.queue.shards
	for range shards {
		s := shards[w.takes/stretch%uint(len(shards))]
		if s.ready() > 0 {
			if w.outcome != counted && w.from != s {
				w.from.settle(w)
			}
			if s.take(w) {
				w.takes++
				return true
			}
		}
		w.takes += stretch
	}
	w.settle()
	return false
}

func (w *worker[T, R]) settle() {
	if w.outcome != counted {
		w.from.settle(w)
	}
}

// load makes the job at hand the worker's task.
func (w *worker[T, R]) load(s *shard[T, R], e *entry[T, R]) {
	w.from, w.entry, w.busy = s, *e, true
	w.taken++
	t := &w.task
	t.Payload, t.Attempt = e.payload, int(e.attempt)+1
	t.Attempts = int(e.attempts)
	t.Priority = int(e.priority)
	if e.queued != 0 {
		t.Queued = w.queue.epoch.Add(e.queued)
	}
	if e.lane != nil {
		t.Key = e.lane.key
	}
	if e.ticket != nil {
		t.ID = e.ticket.id
		t.Deadline = e.ticket.context.deadline
		t.book = e.ticket.book
	}
}

func (w *worker[T, R]) unload() {
	w.task, w.entry, w.outcome, w.busy = Task[T]{}, entry[T, R]{}, counted, false
}

// handle calls the handler with the task in hand. If the handler ends the goroutine, the task is finished while that
// unwinds.
func (w *worker[T, R]) handle() {
	var result R
	err := ErrGoexit
	q, started := w.queue, time.Duration(0)
	if w.entry.queued != 0 {
		started = q.now()
		q.waits.record(started-w.entry.queued, started)
	}
	ctx := q.work
	if w.entry.ticket != nil {
		ctx = q.begin(w)
	}
	defer func() {
		if v := recover(); v != nil {
			p := newPanicError(v)
			q.panics.log(q.cfg.Logger, w.id(), p)
			err = p
		}
		if started != 0 {
			ended := q.now()
			q.runs.record(ended-started, ended)
		}
		q.finish(w, result, err)
	}()
	result, err = q.handler(ctx, &w.task)
}

func (w *worker[T, R]) id() string {
	if w.entry.ticket == nil {
		return ""
	}
	return w.entry.ticket.id
}

// begin returns the context of a task that has a ticket, and so may be cancelled.
func (q *Queue[T, R]) begin(w *worker[T, R]) context.Context {
	t := w.entry.ticket
	t.context.parent = q.work
	if t.more != nil && t.more.row != nil {
		q.ledger.start(t, w.task.Attempt)
	}
	return t.context
}

// finish settles what became of the task in hand. One that has a ticket is counted before that is resolved: who knows its
// outcome finds it in Stats. Any other is counted when the worker takes its next.
func (q *Queue[T, R]) finish(w *worker[T, R], result R, err error) {
	w.outcome = done
	if err != nil {
		w.outcome = failed
		if q.retry(w, err) {
			return
		}
	}
	t := w.entry.ticket
	if t == nil {
		return
	}
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
	q.conclude(t, how, result, err)
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
