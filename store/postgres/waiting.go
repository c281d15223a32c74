package postgres

import (
	"container/list"
	"sync"
	"time"
)

// waiting is who waits for a connection, in the order of arrival.
type waiting struct {
	mu    sync.Mutex // guards since
	since list.List  // of time.Time
}

// enter returns what ends the wait.
func (w *waiting) enter() (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.since.PushBack(time.Now())
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.since.Remove(e)
	}
}

// state is how many wait, and for how long the first of them has.
func (w *waiting) state() (n int, longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first := w.since.Front(); first != nil {
		longest = time.Since(first.Value.(time.Time))
	}
	return w.since.Len(), longest
}
