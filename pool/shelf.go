package pool

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/backoff"
	"github.com/upbeat-go/upbeat/internal/redisblock"
)

// shelf keeps blocking connections between calls, and counts those that are open.
type shelf struct {
	limit   int
	maxIdle time.Duration // negative: no limit
	// lifetime, or up to a tenth less, is how old a connection may get that is in use again and again.
	lifetime time.Duration

	mu     sync.Mutex // guards what follows
	idle   []idleConn // the longest idle first
	open   int
	closed bool
}

type idleConn struct {
	node  *redis.Client
	conn  *mortal
	since time.Time
}

// mortal is a connection that isn't kept for another call after its time.
type mortal struct {
	*redisblock.Conn
	until time.Time
}

func (s *shelf) wrap(conn *redisblock.Conn) *mortal {
	return &mortal{conn, time.Now().Add(backoff.Shorten(s.lifetime, 0.1, rand.Float64()))}
}

// take returns an idle connection to node; or nil, with one reserved that the caller is to open. At most limit callers may be between
// take and give.
func (s *shelf) take(node *redis.Client) *mortal {
	s.mu.Lock()
	var found *mortal
	gone := s.expiredLocked()
	for i := len(s.idle) - 1; i >= 0 && found == nil; i-- {
		if s.idle[i].node != node {
			continue
		}
		if conn := s.removeLocked(i); isQuiet(conn.Socket()) {
			found = conn
		} else { // a command isn't repeated, so it must not find that out
			gone = append(gone, conn)
			s.open--
		}
	}
	if found == nil {
		// An idle connection to another node makes room.
		if s.open >= s.limit && len(s.idle) > 0 {
			gone = append(gone, s.removeLocked(0))
			s.open--
		}
		s.open++
	}
	s.mu.Unlock()
	closeAll(gone)
	return found
}

// give is the end of take, with a connection that is still good or nil.
func (s *shelf) give(node *redis.Client, conn *mortal) {
	s.mu.Lock()
	keep := conn != nil && !s.closed && time.Now().Before(conn.until)
	if keep {
		s.idle = append(s.idle, idleConn{node, conn, time.Now()})
	} else {
		s.open--
	}
	s.mu.Unlock()
	if !keep && conn != nil {
		_ = conn.Close()
	}
}

func (s *shelf) close() {
	s.mu.Lock()
	s.closed = true
	gone := s.emptyLocked()
	s.mu.Unlock()
	closeAll(gone)
}

// clear closes the idle connections.
func (s *shelf) clear() {
	s.mu.Lock()
	gone := s.emptyLocked()
	s.mu.Unlock()
	closeAll(gone)
}

func (s *shelf) stats() BlockingStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return BlockingStats{
		MaxConnections:       s.limit,
		CreatedConnections:   s.open,
		AvailableConnections: len(s.idle),
		InUseConnections:     s.open - len(s.idle),
	}
}

func (s *shelf) emptyLocked() (gone []*mortal) {
	for len(s.idle) > 0 {
		gone = append(gone, s.removeLocked(0))
		s.open--
	}
	return gone
}

func (s *shelf) expiredLocked() (gone []*mortal) {
	for len(s.idle) > 0 && s.maxIdle >= 0 && time.Since(s.idle[0].since) > s.maxIdle {
		gone = append(gone, s.removeLocked(0))
		s.open--
	}
	return gone
}

func (s *shelf) removeLocked(i int) *mortal {
	conn := s.idle[i].conn
	s.idle = append(s.idle[:i], s.idle[i+1:]...)
	return conn
}

func closeAll(conns []*mortal) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}
