package pool

import (
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// subscriptions are those of one Clients, which end with it. The zero value is ready.
type subscriptions struct {
	mu     sync.Mutex // guards what follows
	open   map[*Subscription]struct{}
	ended  uint32 // connections that the ones before had
	closed bool
}

func (l *subscriptions) add(s *Subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.open == nil {
		l.open = make(map[*Subscription]struct{})
	}
	l.open[s] = struct{}{}
	return true
}

func (l *subscriptions) remove(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, s)
	l.ended += s.connections().Created
}

func (l *subscriptions) stats() PubSubStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := PubSubStats{Created: l.ended}
	for s := range l.open {
		sum.add(s.connections())
	}
	return sum
}

func (l *subscriptions) close() {
	l.mu.Lock()
	l.closed = true
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, s := range open {
		s.end(redis.ErrClosed)
	}
	for _, s := range open {
		_ = s.Close()
	}
}
