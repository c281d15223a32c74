package queue

// lane holds back the jobs of one key while another with that key is ready, runs, or waits for its next attempt. Guarded by the shard's in.mu.
type lane[T, R any] struct {
	key         string
	first, last *node[T, R]
}

type node[T, R any] struct {
	entry entry[T, R]
	next  *node[T, R]
}

// lanes are those of one shard, by key. Guarded by the shard's in.mu.
type lanes[T, R any] struct {
	byKey  map[string]*lane[T, R]
	unused *lane[T, R] // one of each is kept for the next that is needed: in a steady flow nothing is allocated
	nodes  *node[T, R]
	spares int
}

const maxSpareNodes = 4096

// enter returns the key's lane, and whether the job of e is held back in it.
func (l *lanes[T, R]) enter(key string, e *entry[T, R]) (held bool) {
	if of := l.byKey[key]; of != nil {
		e.lane = of
		of.append(l.node(e))
		return true
	}
	of := l.unused
	if of == nil {
		of = new(lane[T, R])
	}
	l.unused = nil
	of.key = key
	if l.byKey == nil {
		l.byKey = make(map[string]*lane[T, R])
	}
	l.byKey[key] = of
	e.lane = of
	return false
}

func (l *lane[T, R]) append(n *node[T, R]) {
	if l.last == nil {
		l.first = n
	} else {
		l.last.next = n
	}
	l.last = n
}

func (l *lanes[T, R]) node(e *entry[T, R]) *node[T, R] {
	n := l.nodes
	if n == nil {
		n = new(node[T, R])
	} else {
		l.nodes = n.next
		l.spares--
	}
	n.entry, n.next = *e, nil
	return n
}

// next takes the job out of the lane whose turn it is, into e, and closes the lane if there is none.
func (l *lanes[T, R]) next(of *lane[T, R], e *entry[T, R]) bool {
	n := of.first
	if n == nil {
		delete(l.byKey, of.key)
		of.key = ""
		l.unused = of
		return false
	}
	if of.first = n.next; of.first == nil {
		of.last = nil
	}
	*e = n.entry
	n.entry, n.next = entry[T, R]{}, nil
	if l.spares < maxSpareNodes {
		n.next, l.nodes = l.nodes, n
		l.spares++
	}
	return true
}
