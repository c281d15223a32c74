package pool_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

func TestDialGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := pool.NewDialGate(2)
		first, err := g.Enter(t.Context(), "a")
		require.NoError(t, err)
		second, err := g.Enter(t.Context(), "a")
		require.NoError(t, err)
		other, err := g.Enter(t.Context(), "b")
		require.NoError(t, err, "addresses don't hold up one another")

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errStop)
		defer cancel()
		start := time.Now()
		_, err = g.Enter(ctx, "a")
		require.ErrorIs(t, err, errStop)
		require.ErrorContains(t, err, "2 connections to a")
		require.Equal(t, time.Second, time.Since(start))

		var wg sync.WaitGroup
		wg.Go(func() {
			third, err := g.Enter(t.Context(), "a")
			require.NoError(t, err)
			third()
		})
		synctest.Wait()
		first()
		wg.Wait()
		second()
		other()
		require.Zero(t, g.Len(), "nothing is kept for an address that nobody dials")
	})
}

// Both Standard and Blocking want all their connections at the same time from a server whose handshakes take long.
func TestClients_ConcurrentHandshakes(t *testing.T) {
	t.Parallel()
	srv := serveTLS(t, sharedAddr(t))
	slow := newTurnstile(t, srv.addr)
	c := open(t, pool.Config{Addr: slow.addr, TLS: srv.client, Profile: pool.Profile{MaxConnections: 30, BlockingConnections: 30}})
	slow.close()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			hold(t, c, func() {})
		})
		wg.Go(func() {
			_, _ = c.Blocking().BLPop(t.Context(), 10*time.Millisecond, key(t))
		})
	}
	slow.awaitWaiting(8)
	slow.open()
	wg.Wait()
	require.Equal(t, 8, slow.mostWaiting())
}

// turnstile passes connections on to target, but not their first bytes while it is closed.
type turnstile struct {
	t    *testing.T
	addr string

	mu            sync.Mutex
	gate          chan struct{}
	waiting, most int
	seen          int
}

func newTurnstile(t *testing.T, target string) *turnstile {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	s := &turnstile{t: t, addr: ln.Addr().String(), gate: make(chan struct{})}
	s.open()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.pass(c, target)
		}
	}()
	return s
}

func (s *turnstile) pass(c net.Conn, target string) {
	s.mu.Lock()
	gate := s.gate
	s.waiting++
	s.most = max(s.most, s.waiting)
	s.mu.Unlock()
	<-gate
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
	relay(s.t.Context(), c, target)
}

func (s *turnstile) open() { close(s.gate) }

func (s *turnstile) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate, s.most = make(chan struct{}), 0
}

func (s *turnstile) mostWaiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *turnstile) awaitWaiting(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waiting >= n
	}, 5*time.Second, time.Millisecond)
}

func relay(ctx context.Context, c net.Conn, target string) {
	defer func() { _ = c.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, c)
		_ = server.Close()
	}()
	_, _ = io.Copy(c, server)
}

// settled tells whether nobody has come since it was asked last.
func (s *turnstile) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.waiting == s.seen
	s.seen = s.waiting
	return same
}
