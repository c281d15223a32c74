package queue

import (
	"runtime"
	"sync"
	"sync/atomic"
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
	ticket  *Ticket[R]
	outcome outcome

	// The task in hand, for those who ask from outside. Written under the mutex of some shard: who holds them all may
	// read it.
	busy   bool
	id     string
	queued time.Duration
}

// outcome is how the worker's last task ended, until that is counted.
type outcome uint8

const (
	counted outcome = iota
	done
	failed
)

// crew starts workers when there is work, and no more of them than needed.
//
// All that decides is in one word: the number of workers that may still be started, and whether one is searching,
// that is, awake and without a task. While one is, a submitter need not start another, for the searching worker
//   - finds a task, and then starts the next worker if more tasks wait, or
//   - gives up, and looks once more after having said so.
//
// A submitter appends its job before it reads the word, so either it sees that nobody is searching, or the one who is
// sees the job. The same holds for a submitter that finds no worker left to start: each of them looks once more after
// it has made itself available again.
//
// Quick tasks thus stay with few workers: a new one takes up work only when the scheduler has time for it, and until
// then no other is started.
type crew[T, R any] struct {
	word atomic.Int64 // available workers × 2, plus 1 while one is searching

	mu   sync.Mutex
	idle []*worker[T, R]
	all  []*worker[T, R]
}

const (
	searchingOne = 1
	availableOne = 2

	// searchTurns is how often a searching worker lets others run before it gives up. It saves a submitter, who is
	// about to come back, the start of a goroutine.
	searchTurns = 16

	// stretch is how many tasks in a row a worker takes from one shard: going round at each would have all workers and
	// submitters meet at every mutex.
	stretch = 16
)

// wake starts a worker unless one is searching or none is available.
func (q *Queue[T, R]) wake() {
	for {
		word := q.crew.word.Load()
		if word < availableOne || word&searchingOne != 0 {
			return
		}
		if q.crew.word.CompareAndSwap(word, word-availableOne+searchingOne) {
			w := q.enlist()
			w.searching = true
			go w.start()
			return
		}
	}
}

func (q *Queue[T, R]) enlist() *worker[T, R] {
	c := &q.crew
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.idle) - 1; last >= 0 {
		w := c.idle[last]
		c.idle = c.idle[:last]
		return w
	}
	w := &worker[T, R]{queue: q, takes: uint(len(c.all)) * stretch}
	w.start = w.run
	c.all = append(c.all, w)
	return w
}

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
		if w.take() {
			w.found()
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
	for range w.queue.shards {
		s := w.shard()
		if s.depth.Load() > 0 && s.take(w) {
			w.takes++
			return true
		}
		w.takes += stretch
	}
	if w.outcome != counted {
		w.shard().settle(w)
	}
	return false
}

// shard is the one whose turn it is.
func (w *worker[T, R]) shard() *shard[T, R] {
	shards := w.queue.shards
	return shards[w.takes/stretch%uint(len(shards))]
}

// search makes this worker the searching one, if there is none.
func (w *worker[T, R]) search() bool {
	word := &w.queue.crew.word
	for !w.searching {
		old := word.Load()
		if old&searchingOne != 0 {
			return false
		}
		w.searching = word.CompareAndSwap(old, old+searchingOne)
	}
	return true
}

func (w *worker[T, R]) found() {
	if !w.searching {
		return
	}
	w.searching = false
	w.queue.crew.word.Add(-searchingOne)
	if w.queue.Len() > 0 {
		w.queue.wake()
	}
}

// retire makes the worker available again. Its goroutine must not touch it any more.
func (w *worker[T, R]) retire() {
	q, change := w.queue, int64(availableOne)
	if w.searching {
		w.searching = false
		change -= searchingOne
	}
	q.crew.mu.Lock()
	q.crew.idle = append(q.crew.idle, w)
	q.crew.mu.Unlock()

	q.crew.word.Add(change)
	if q.Len() > 0 {
		q.wake()
	}
	if q.draining.Load() {
		select {
		case q.ended <- struct{}{}:
		default:
		}
	}
}

// handle calls the handler with the task in hand. If the handler ends the goroutine, the task is finished while that
// unwinds.
func (w *worker[T, R]) handle() {
	var result R
	err := ErrGoexit
	defer func() {
		if v := recover(); v != nil {
			p := newPanicError(v)
			w.queue.panics.log(w.queue.cfg.Logger, w.id, p)
			err = p
		}
		w.finish(result, err)
	}()
	result, err = w.queue.handler(w.queue.work, &w.task)
}

// finish resolves the ticket of the task in hand. A task that has one is counted first: who knows its outcome finds
// it in Stats. Any other is counted when the worker takes its next.
func (w *worker[T, R]) finish(result R, err error) {
	w.outcome = done
	if err != nil {
		w.outcome = failed
	}
	q, id, ticket := w.queue, w.id, w.ticket
	if id == "" && ticket == nil {
		return
	}
	w.shard().settle(w)
	if id != "" {
		ticket = q.idsOf(id).leave(id)
	}
	if ticket != nil {
		ticket.resolve(result, err)
	}
}
