package consumer

import "sync"

// queue holds what was received and not yet started, oldest first. Its bound is the budget's. Safe for concurrent use.
type queue[T any] struct {
	mu     sync.Mutex
	cond   sync.Cond // something may be popped, or closed
	items  []*Message[T]
	head   int
	held   bool // an outage is on: nothing new is to be started
	closed bool
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
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

// pop waits for work and appends up to n messages to dst. It returns nil once the queue is closed.
func (q *queue[T]) pop(dst []*Message[T], n int) []*Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.held || q.lenLocked() == 0) {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	n = min(n, q.lenLocked())
	dst = append(dst, q.items[q.head:q.head+n]...)
	clear(q.items[q.head : q.head+n])
	q.head += n
	if q.lenLocked() > 0 {
		q.cond.Signal() // each push woke one: that one wakes the next
	}
	return dst
}

// swap puts m at the end and returns the first message, even while the queue is held. Without another one that is m itself.
func (q *queue[T]) swap(m *Message[T]) *Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.lenLocked() == 0 {
		return m
	}
	first := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	q.appendLocked(m)
	return first
}

// hold keeps pop from returning anything, or lets it again.
func (q *queue[T]) hold(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = on
	q.cond.Broadcast()
}

// close ends all pops and returns what they didn't get.
func (q *queue[T]) close() []*Message[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.items[q.head:]
	q.items, q.head, q.closed = nil, 0, true
	q.cond.Broadcast()
	return rest
}

func (q *queue[T]) lenLocked() int { return len(q.items) - q.head }
