package testserver

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Proxy is a TCP proxy whose network fails on demand. A mode holds from the return of its method, for connections that are there
// and for new ones, until the next is chosen; bytes on their way at that moment may be treated either way.
//
// A client whose server can't be reached behind a healthy proxy is accepted, then reset.
type Proxy struct {
	tb     testing.TB
	target string
	port   int
	wg     sync.WaitGroup

	mu      sync.Mutex
	mode    mode
	delay   time.Duration
	changed chan struct{} // closed when the mode changes
	ln      net.Listener  // nil while refusing
	links   map[*link]struct{}
}

type mode int

const (
	pass mode = iota
	blackHole
	dropReplies
	halfOpen
	refuse
)

// StartProxy starts a proxy to target ("host:port") on a free port of its own, which ends with the test.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	port, err := holdPort(tb.Context(), false)
	require(tb, err)
	p := &Proxy{tb: tb, target: target, port: port, changed: make(chan struct{}), links: make(map[*link]struct{})}
	p.set(pass, 0)
	tb.Cleanup(p.close)
	return p
}

// Addr is the address to connect to in place of the target's. It never changes.
func (p *Proxy) Addr() string { return localAddr(p.port) }

// Connections is how many clients are connected: those that were accepted and have not closed.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.left {
			n++
		}
	}
	return n
}

// Pass heals the network for new connections. Of the old ones, those from a BlackHole or a Latency go on with nothing lost; those that
// DropReplies robbed of a reply, or would have, as a request went through meanwhile, are reset: the rest of their stream would not fit; those from
// HalfOpen stay dead.
func (p *Proxy) Pass() {
	p.tb.Helper()
	p.set(pass, 0)
}

// Latency delays all bytes by d in each direction, in order. The handshake is not delayed.
func (p *Proxy) Latency(d time.Duration) {
	p.tb.Helper()
	p.set(pass, d)
}

// BlackHole lets nothing through and closes nothing: connections are accepted, and bytes wait. Sends succeed until buffers are full.
func (p *Proxy) BlackHole() {
	p.tb.Helper()
	p.set(blackHole, 0)
}

// DropReplies lets requests through to the server and throws away what it answers.
func (p *Proxy) DropReplies() {
	p.tb.Helper()
	p.set(dropReplies, 0)
}

// HalfOpen closes the server's side of all connections and tells no client: what they send is swallowed, and nothing ever comes
// back. New connections are dead from the start.
func (p *Proxy) HalfOpen() {
	p.tb.Helper()
	p.set(halfOpen, 0)
}

// Reset cuts all connections with an RST to both sides. New ones pass.
func (p *Proxy) Reset() {
	p.tb.Helper()
	p.Refuse()
	p.Pass()
}

// Refuse resets all connections and refuses new ones, as a host does on which the server has died.
func (p *Proxy) Refuse() {
	p.tb.Helper()
	p.set(refuse, 0)
}

// set changes the mode, and brings the door and the links in line with it.
func (p *Proxy) set(m mode, delay time.Duration) {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.delay = m, delay
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		switch {
		case m == refuse, m == pass && l.robbed:
			l.resetLocked()
		case m == halfOpen:
			l.dead = true
			if l.server != nil {
				_ = l.server.Close()
			}
		}
	}
	if err := p.openLocked(m != refuse); err != nil {
		p.tb.Fatalf("testserver: proxy to %s: %v", p.target, err)
	}
}

// openLocked opens or closes the door.
func (p *Proxy) openLocked(open bool) error {
	if open == (p.ln != nil) {
		return nil
	}
	if !open {
		err := p.ln.Close()
		p.ln = nil
		return err
	}
	ln, err := listenAgain(p.Addr())
	if err != nil {
		return err
	}
	p.ln = ln
	p.wg.Go(func() { p.accept(ln) })
	return nil
}

// listenAgain listens where this process has listened before. A program that another test starts at this moment has, between its fork and
// its exec, a copy of the socket that was closed: until then the address is in use.
func listenAgain(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	for deadline := time.Now().Add(patience); ; {
		ln, err := lc.Listen(context.Background(), "tcp4", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return ln, err
		}
		<-time.After(time.Millisecond)
	}
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // closed
		}
		l := newLink(p, conn.(*net.TCPConn))
		p.mu.Lock()
		if p.ln == ln {
			p.links[l] = struct{}{}
			p.wg.Go(l.run)
		} else {
			l.resetLocked() // accepted while the door was closing
		}
		p.mu.Unlock()
	}
}

func (p *Proxy) close() {
	p.set(refuse, 0)
	p.wg.Wait()
}
