package consumer

import (
	"slices"
	"sync"
)

// queue holds what was received and not yet started, oldest first. Its bound is the budget's. Safe for concurrent use.
type queue[T any] struct {
	mu     sync.Mutex
	cond   sync.Cond // something may be popped, or closed
	items  []*Message[T]
	head   int
	lanes  lanes[T]
	held   reason // nothing new is to be started
	excess int    // how many pops are to return nothing, for their callers to leave
	closed bool
}

func newQueue[T any](keyed bool) *queue[T] {
	q := &queue[T]{lanes: lanes[T]{keyed: keyed, byKey: map[string]*lane[T]{}}}
	q.cond.L = &q.mu
	return q
}

// push appends ms. It reports false, and takes nothing, once the queue is closed.
func (q *queue[T]) push(ms ...*Message[T]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.appendLocked(ms...)
	q.cond.Signal()
	return true
}

func (q *queue[T]) appendLocked(ms ...*Message[T]) {
	if q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, ms...)
}

// pop waits for work and appends up to n messages to dst. It returns nil once the queue is closed, or when its caller is dismissed.
func (q *queue[T]) pop(dst []*Message[T], n int) []*Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && q.excess == 0 && (q.held != 0 || !q.fillLocked(&dst, n)) {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	if q.excess > 0 {
		q.excess--
		return nil
	}
	if q.lenLocked() > 0 || len(q.lanes.ready) > 0 {
		q.cond.Signal() // each push woke one: that one wakes the next
	}
	return dst
}

// fillLocked moves up to n messages to dst that may be started, and reports whether there was any.
func (q *queue[T]) fillLocked(dst *[]*Message[T], n int) bool {
	if q.lanes.keyed {
		return q.fillKeyedLocked(dst, n)
	}
	n = min(n, q.lenLocked())
	*dst = append(*dst, q.items[q.head:q.head+n]...)
	clear(q.items[q.head : q.head+n])
	q.head += n
	return n > 0
}

// swap puts m at the end and returns the first message, even while the queue is held. Without another one, or where their order matters, that
// is m itself.
func (q *queue[T]) swap(m *Message[T]) *Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.lenLocked() == 0 || q.lanes.keyed {
		return m
	}
	first := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	q.appendLocked(m)
	return first
}

// dismiss lets n callers of pop go away, whoever comes first.
func (q *queue[T]) dismiss(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.excess += n
	q.cond.Broadcast()
}

// hold keeps pop from returning anything for a reason, or takes that back.
func (q *queue[T]) hold(why reason, on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = q.held.with(why, on)
	q.cond.Broadcast()
}

// close ends all pops and returns what they didn't get.
func (q *queue[T]) close() []*Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := slices.Concat(q.items[q.head:], q.lanes.clear())
	q.items, q.head, q.closed = nil, 0, true
	q.cond.Broadcast()
	return rest
}

func (q *queue[T]) lenLocked() int { return len(q.items) - q.head }
