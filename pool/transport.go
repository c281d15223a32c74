package pool

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// transport is the connection as go-redis sees it.
type transport struct {
	net.Conn
	socket net.Conn // the one below TLS
	opaque bool     // TLS lies between

	// sealed hides the kind of an I/O error. go-redis repeats a command in a Cluster whenever it recognizes the error as one of the
	// network's, even if the server may have run the command already, and there is no setting against that.
	sealed bool
}

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
	return n, t.seal(err)
}

func (t *transport) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	return n, t.seal(err)
}

func (t *transport) seal(err error) error {
	if err == nil || !t.sealed {
		return err
	}
	return &sealedError{err}
}

// sealedError has no Unwrap on purpose: see transport.sealed.
type sealedError struct{ cause error }

func (e *sealedError) Error() string { return e.cause.Error() }

// unseal gives errors their kind back once go-redis has decided not to repeat the command.
type unseal struct{}

func (unseal) DialHook(next redis.DialHook) redis.DialHook { return next }

func (unseal) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return opened(next(ctx, cmd)) }
}

func (unseal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(opened(cmd.Err()))
			}
		}
		return opened(err)
	}
}

func opened(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := errors.AsType[*sealedError](err); ok {
		return s.cause
	}
	return err
}
