package pool_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// tlsServer ends TLS in front of a plain server.
type tlsServer struct {
	addr   string
	client *tls.Config

	mu    sync.Mutex
	conns []net.Conn
}

func serveTLS(t *testing.T, target string) *tlsServer {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	s := &tlsServer{addr: ln.Addr().String(), client: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(func() {
		_ = ln.Close()
		s.hangUp()
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(context.WithoutCancel(t.Context()), c, target)
		}
	}()
	return s
}

func (s *tlsServer) serve(ctx context.Context, c net.Conn, target string) {
	defer func() { _ = c.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, c)
		_ = c.Close()
		_ = server.Close()
	}()
	_, _ = io.Copy(c, server)
}

// hangUp closes all connections as a server does that restarts: a TLS goodbye, then the end.
func (s *tlsServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// mumble sends the beginning of a TLS record on all connections.
func (s *tlsServer) mumble(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_, err := c.(*tls.Conn).NetConn().Write([]byte{0x17, 3, 3})
		require.NoError(t, err)
	}
}

// speakRESP reads commands and answers each.
func speakRESP(c net.Conn, answer func(cmd string) string) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	line := func() string {
		s, _ := r.ReadString('\n')
		return strings.TrimSpace(s)
	}
	for {
		n, err := strconv.Atoi(strings.TrimPrefix(line(), "*"))
		if err != nil {
			return
		}
		var words []string
		for range n {
			line()
			words = append(words, strings.ToLower(line()))
		}
		if _, err := io.WriteString(c, answer(words[0])); err != nil {
			return
		}
	}
}

func TestClients_TLS(t *testing.T) {
	t.Parallel()
	srv := serveTLS(t, sharedAddr(t))
	c := open(t, pool.Config{URL: "rediss://" + srv.addr, TLS: srv.client})
	require.NoError(t, c.Standard().Ping(t.Context()).Err())
	k := key(t)
	require.NoError(t, c.Standard().RPush(t.Context(), k, "v").Err())
	got, err := c.Blocking().BLPop(t.Context(), 0, k)
	require.NoError(t, err)
	require.Equal(t, []string{k, "v"}, got)
}

func TestClients_DeadIdleTLSConnections(t *testing.T) {
	t.Parallel()
	srv := serveTLS(t, sharedAddr(t))
	c := open(t, pool.Config{Addr: srv.addr, TLS: srv.client})
	warmUp(t, c, 10)
	misses := c.Stats().Misses
	require.NoError(t, c.Standard().Ping(t.Context()).Err())
	require.Equal(t, misses, c.Stats().Misses, "a good idle connection is used")
	srv.hangUp()
	for range 10 {
		require.NoError(t, c.Standard().Incr(t.Context(), "dead-idle").Err(), "no idle connection of before is used")
	}
}

// Whoever waits for the rest of such a record waits for ever.
func TestClients_IdleTLSConnectionWithHalfARecord(t *testing.T) {
	t.Parallel()
	srv := serveTLS(t, sharedAddr(t))
	c := open(t, pool.Config{Addr: srv.addr, TLS: srv.client})
	srv.mumble(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Standard().Ping(ctx).Err() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "Ping hangs")
	}
}
