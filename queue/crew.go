package queue

import (
	"fmt"
	"sync"
	"sync/atomic"
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
//
// While the queue is paused, or has more workers than it should since its concurrency was lowered, the word is negative:
// nobody is started, and workers leave instead of taking the next task.
type crew[T, R any] struct {
	_    [64]byte
	word atomic.Int64 // available workers × 2, plus 1 while one is searching
	_    [64]byte

	mu        sync.Mutex
	idle      []*worker[T, R]
	all       []*worker[T, R]
	limit     int // workers there may be
	started   bool
	paused    bool
	dismissed bool
}

const (
	searchingOne = 1
	availableOne = 2

	pausedBias = 1 << 40 // workers that a pause takes away
)

// full is the word of a crew in which nobody works.
func (c *crew[T, R]) fullLocked() int64 {
	word := int64(0)
	if c.started {
		word += int64(c.limit) * availableOne
	}
	if c.paused {
		word -= pausedBias * availableOne
	}
	return word
}

// change changes limit, started or paused, and the word as they say.
func (c *crew[T, R]) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.fullLocked()
	f()
	if !c.dismissed {
		c.word.Add(c.fullLocked() - before)
	}
}

// Pause keeps waiting jobs from being started until Resume; those that run go on, and jobs are still accepted. A drain
// doesn't end it: what waits then is not run. It doesn't block.
func (q *Queue[T, R]) Pause() { q.crew.change(func() { q.crew.paused = true }) }

// Resume ends a Pause. It doesn't block.
func (q *Queue[T, R]) Resume() {
	q.crew.change(func() { q.crew.paused = false })
	q.wakeIfReady()
}

// Resize changes how many handlers may run at once: 1 to 1,000,000. When that is fewer than run now, none is stopped:
// none starts until enough of them have returned. It doesn't block.
func (q *Queue[T, R]) Resize(concurrency int) error {
	if concurrency < 1 || concurrency > maxConcurrency {
		return fmt.Errorf("queue: Resize to %d: want 1 to %d", concurrency, maxConcurrency)
	}
	q.crew.change(func() { q.crew.limit = concurrency })
	q.wakeIfReady()
	return nil
}

func (c *crew[T, R]) state() (limit int, paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit, c.paused
}

func (q *Queue[T, R]) wakeIfReady() {
	if q.ready() {
		q.wake()
	}
}

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
	w := &worker[T, R]{queue: q, at: len(c.all) % len(q.shards)}
	w.start = w.run
	c.all = append(c.all, w)
	return w
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
	w.searching = false
	w.queue.crew.word.Add(-searchingOne)
	w.queue.wakeIfReady()
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
	q.wakeIfReady()
	q.tellEnd()
}

// tellEnd has a drain look whether it is over.
func (q *Queue[T, R]) tellEnd() {
	if q.draining.Load() {
		select {
		case q.ended <- struct{}{}:
		default:
		}
	}
}

// dismiss takes the whole crew away, so that no worker starts ever again. It fails while there is work, or a worker.
func (q *Queue[T, R]) dismiss() bool {
	c := &q.crew
	c.mu.Lock()
	defer c.mu.Unlock()
	if !q.empty() || !c.word.CompareAndSwap(c.fullLocked(), 0) {
		return c.dismissed
	}
	c.dismissed = true
	return true
}
