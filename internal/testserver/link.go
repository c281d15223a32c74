package testserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// link is one connection through a Proxy.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	ctx    context.Context // ends with the link
	cancel context.CancelFunc

	// The mutex of the proxy guards these.
	server *net.TCPConn // nil before the dial
	left   bool         // the client has closed its side
	dead   bool         // the server's side is gone, and the client is not to know
	robbed bool         // a part of the replies was dropped, or is to be: the answer to a request
}

// chunk is what came with one read, or the error that ended the reading.
type chunk struct {
	bytes []byte
	err   error
	due   time.Time
}

// queueLength bounds what waits for one direction, in chunks of at most chunkBytes; more stays with the sender.
const (
	queueLength = 256
	chunkBytes  = 32 << 10
)

func newLink(p *Proxy, client *net.TCPConn) *link {
	l := &link{proxy: p, client: client}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run carries the link until both directions have ended.
func (l *link) run() {
	defer l.end()
	var wg sync.WaitGroup
	defer wg.Wait()
	requests := make(chan chunk, queueLength)
	wg.Go(func() { l.read(l.client, requests) })
	server := l.dial()
	if server != nil {
		replies := make(chan chunk, queueLength)
		wg.Go(func() { l.read(server, replies) })
		wg.Go(func() { l.forward(replies, l.client, true) })
	}
	l.forward(requests, server, false)
}

// dial connects to the server as soon as the mode allows it, and returns nil if it never does.
func (l *link) dial() *net.TCPConn {
	if l.swallows(false) {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(l.ctx, "tcp", l.proxy.target)
	if err != nil {
		l.fail()
		return nil
	}
	server := conn.(*net.TCPConn)
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if l.dead || l.ctx.Err() != nil {
		_ = server.Close()
		return nil
	}
	l.server = server
	return server
}

// read fills a queue until there is nothing more to read, and closes it.
func (l *link) read(from *net.TCPConn, queue chan<- chunk) {
	defer close(queue)
	buf := make([]byte, chunkBytes)
	for {
		n, err := from.Read(buf)
		c := chunk{bytes: bytes.Clone(buf[:n]), err: err}
		l.proxy.mu.Lock()
		c.due = time.Now().Add(l.proxy.delay)
		l.left = l.left || (err != nil && from == l.client)
		l.proxy.mu.Unlock()
		select {
		case queue <- c:
		case <-l.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// forward empties a queue into a connection, as the mode of the proxy allows.
func (l *link) forward(queue <-chan chunk, to *net.TCPConn, reply bool) {
	for c := range queue {
		l.sleepUntil(c.due)
		if l.swallows(reply) {
			continue
		}
		_, err := to.Write(c.bytes)
		switch {
		case err != nil, c.err != nil && !errors.Is(c.err, io.EOF):
			l.fail()
		case c.err != nil:
			_ = to.CloseWrite() // the other direction may have more to say
		}
	}
}

// swallows blocks while nothing may flow, and says whether the next bytes vanish.
func (l *link) swallows(reply bool) bool {
	for {
		l.proxy.mu.Lock()
		mode, changed := l.proxy.mode, l.proxy.changed
		l.robbed = l.robbed || mode == dropReplies
		l.dead = l.dead || mode == halfOpen
		vanish := l.dead || (mode == dropReplies && reply)
		l.proxy.mu.Unlock()
		if vanish || l.ctx.Err() != nil {
			return true
		}
		if mode != blackHole {
			return false
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
		}
	}
}

func (l *link) sleepUntil(due time.Time) {
	wait := time.Until(due)
	if wait <= 0 {
		return
	}
	select {
	case <-time.After(wait):
	case <-l.ctx.Done():
	}
}

// fail resets the link, unless the client is not to know.
func (l *link) fail() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if !l.dead {
		l.resetLocked()
	}
}

// resetLocked closes both sides with an RST.
func (l *link) resetLocked() {
	_ = l.client.SetLinger(0)
	if l.server != nil {
		_ = l.server.SetLinger(0)
	}
	l.closeLocked()
}

func (l *link) closeLocked() {
	l.cancel()
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

// end forgets the link, when nothing flows any more.
func (l *link) end() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.closeLocked()
	delete(l.proxy.links, l)
}
