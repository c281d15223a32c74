package consumer

// lanes keep messages of the same key one after another. Guarded by the mutex of their queue.
type lanes[T any] struct {
	keyed bool
	byKey map[string]*lane[T] // of keys that somebody is at work on, or that are ready
	ready []*lane[T]          // with messages, and nobody at work on them; the oldest first
	pops  uint64
}

// lane is a key that somebody is at work on, and the messages that wait for that, oldest first.
type lane[T any] struct {
	key    string
	waits  []*Message[T]
	pop    uint64 // the newest that took from it: its caller is at work on the key
	closed bool   // for the time of one call of done
}

// fillKeyedLocked takes messages in their order, but for those whose key somebody else is at work on: they wait in its lane.
func (q *queue[T]) fillKeyedLocked(dst *[]*Message[T], n int) bool {
	ls := &q.lanes
	ls.pops++
	for len(ls.ready) > 0 && len(*dst) < n {
		l := ls.ready[0]
		ls.ready[0] = nil
		ls.ready = ls.ready[1:]
		l.pop = ls.pops
		take := min(n-len(*dst), len(l.waits))
		*dst = append(*dst, l.waits[:take]...)
		clear(l.waits[:take])
		if l.waits = l.waits[take:]; len(l.waits) == 0 {
			l.waits = nil // what is read can be freed
		}
	}
	for q.lenLocked() > 0 && len(*dst) < n {
		m := q.items[q.head]
		q.items[q.head] = nil
		q.head++
		if ls.admit(m) {
			*dst = append(*dst, m)
		}
	}
	return len(*dst) > 0
}

// admit says whether the present pop may take m, and has it wait otherwise.
func (ls *lanes[T]) admit(m *Message[T]) bool {
	if m.key == "" {
		return true
	}
	l := ls.byKey[m.key]
	if l == nil {
		ls.byKey[m.key] = &lane[T]{key: m.key, pop: ls.pops}
		return true
	}
	if l.pop == ls.pops { // it took all that waited, or it would be full
		return true
	}
	l.waits = append(l.waits, m)
	return false
}

// done is called when nobody is at work any more on what one pop returned.
func (q *queue[T]) done(unit []*Message[T]) {
	if !q.lanes.keyed {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	ls := &q.lanes
	for _, m := range unit {
		l := ls.byKey[m.key]
		switch {
		case l == nil || l.closed: // no key, or seen before
		case len(l.waits) == 0:
			delete(ls.byKey, l.key)
		default:
			l.closed = true
			ls.ready = append(ls.ready, l)
			q.cond.Signal()
		}
	}
	for _, m := range unit {
		if l := ls.byKey[m.key]; l != nil {
			l.closed = false
		}
	}
}

// clear returns everything that waits.
func (ls *lanes[T]) clear() (rest []*Message[T]) {
	for _, l := range ls.byKey {
		rest = append(rest, l.waits...)
	}
	ls.byKey, ls.ready = map[string]*lane[T]{}, nil
	return rest
}
