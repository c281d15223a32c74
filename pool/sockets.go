package pool

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// sockets are the open connections of a client. go-redis looks at an idle one only when it is about to use it, the newest first: after a
// restart of the server the older ones would stay behind, half-closed, for as long as there is little to do.
type sockets struct {
	era atomic.Uint64 // connections of an earlier one are replaced before their next use

	mu   sync.Mutex // guards what follows
	open map[*socket]struct{}
	dead map[string]int // by the address that was dialled: closed by reap, and go-redis doesn't know yet
}

// socket is one connection.
type socket struct {
	*transport
	all  *sockets
	addr string
	era  uint64

	// The mutex of sockets guards these.
	ended  bool // the other side has said goodbye
	reaped bool
}

func newSockets() *sockets {
	return &sockets{open: make(map[*socket]struct{}), dead: make(map[string]int)}
}

// keep takes note of a new connection.
func (s *sockets) keep(t *transport, addr string) *socket {
	k := &socket{transport: t, all: s, addr: addr, era: s.era.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[k] = struct{}{}
	return k
}

// renew has every connection replaced before its next use. What runs on one is not disturbed.
func (s *sockets) renew() { s.era.Add(1) }

// reap closes connections whose other side has ended them and of which nothing is left to read, and returns how many. It does so at
// its second sight of one, as whoever uses it is to see the end by himself.
func (s *sockets) reap() int {
	var closing []*socket
	s.mu.Lock()
	for k := range s.open {
		switch {
		case !hasEnded(k.transport):
		case !k.ended:
			k.ended = true
		default:
			k.reaped = true
			s.dead[k.addr]++
			delete(s.open, k)
			closing = append(closing, k)
		}
	}
	s.mu.Unlock()
	for _, k := range closing {
		_ = k.Conn.Close()
	}
	return len(closing)
}

// deadAt is how many connections to addr go-redis counts and reap has closed; "" is any address.
func (s *sockets) deadAt(addr string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr != "" {
		return s.dead[addr]
	}
	n := 0
	for _, dead := range s.dead {
		n += dead
	}
	return n
}

var errEarlierEra = errors.New("pool: the connection is from before a change of the server's role")

// SyscallConn is where go-redis asks whether an idle connection is still good.
func (k *socket) SyscallConn() (syscall.RawConn, error) {
	if k.era != k.all.era.Load() {
		return nil, errEarlierEra
	}
	return k.transport.SyscallConn()
}

func (k *socket) Close() error {
	k.all.mu.Lock()
	if k.reaped {
		k.reaped = false
		if k.all.dead[k.addr]--; k.all.dead[k.addr] == 0 {
			delete(k.all.dead, k.addr)
		}
	}
	delete(k.all.open, k)
	k.all.mu.Unlock()
	return k.transport.Close()
}

// isAlert tells whether all of b is one TLS record with an alert. From TLS 1.3 on it is sealed as data is, but no reply of Redis is
// as short: two bytes, their type and a tag of 16.
func isAlert(b []byte) bool {
	const header, alert, data = 5, 21, 23
	if len(b) < header || len(b) != header+int(b[3])<<8+int(b[4]) {
		return false
	}
	return b[0] == alert || b[0] == data && len(b) == header+2+1+16
}
