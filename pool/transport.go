package pool

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// transport is the connection as go-redis sees it.
type transport struct {
	net.Conn
	socket net.Conn // the one below TLS
	opaque bool     // TLS lies between
	marks  marks
	unlink func() bool // from what ends all connections
}

func (t *transport) Close() error {
	if !t.unlink() {
		return nil // it is closed
	}
	return t.Conn.Close()
}

// marks is what a transport does to the errors of Read and Write.
type marks int

const (
	unmarked marks = iota // nothing
	marked                // they become a linkError
	sealed                // that hides its cause as well: see linkError
)

// errIdleData is the verdict on an idle TLS connection that was sent something: nobody asked, so it is a goodbye.
var errIdleData = errors.New("pool: the server ended an idle connection")

// SyscallConn lets go-redis look whether an idle connection has ended. It can't see through TLS by itself.
func (t *transport) SyscallConn() (syscall.RawConn, error) {
	socket, ok := t.socket.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err == nil && t.opaque && hasInput(raw) {
		return nil, errIdleData
	}
	return raw, err
}

// isQuiet tells whether an idle connection has neither ended nor been sent something.
func isQuiet(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	return err == nil && !hasInput(raw)
}

func (t *transport) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	return n, t.mark(err)
}

func (t *transport) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	return n, t.mark(err)
}

func (t *transport) mark(err error) error {
	if err == nil || t.marks == unmarked {
		return err
	}
	return &linkError{cause: err, sealed: t.marks == sealed}
}

// linkError is a failure on an established connection: what was sent may have been executed.
//
// A sealed one doesn't show its cause. go-redis repeats a command in a Cluster whenever it recognizes the error as one of the
// network's, even if the server may have run the command already, and there is no setting against that.
type linkError struct {
	cause  error
	sealed bool

	judged atomic.Bool // a transaction meets the failure of its connection again with each command
}

func (e *linkError) Error() string { return e.cause.Error() }

// Unwrap returns a list because go-redis peels off one layer of what errors.Unwrap sees from a failed handshake.
func (e *linkError) Unwrap() []error {
	if e.sealed {
		return nil
	}
	return []error{e.cause}
}

// dialError is a failure to connect, the handshake included: nothing was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string   { return e.cause.Error() }
func (e *dialError) Unwrap() []error { return []error{e.cause} }

// queueError hides redis.ErrPoolTimeout from a Cluster client, which would wait for a connection three more times.
type queueError struct{ cause error }

func (e *queueError) Error() string { return e.cause.Error() }

// plain takes off what this package put around an error, once nobody is left to be kept from seeing it.
func plain(err error) error {
	if e, ok := errors.AsType[*linkError](err); ok {
		return e.cause
	}
	if e, ok := errors.AsType[*queueError](err); ok {
		return e.cause
	}
	return err
}
