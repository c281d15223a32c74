package pool

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// guard is the innermost hook of each node's client in Standard: it sees every attempt, and asks and tells the breaker of the node.
type guard struct {
	client  *redis.Client
	breaker *breaker // nil: off
	cluster bool
}

// errNoMaster stands for the redis.Nil with which Sentinels say that they know no such master: as the error of a GET, it would say that there is
// no such key.
var errNoMaster = errors.New("pool: the Sentinels know no master of that name")

func (g *guard) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return failedConn{unsentError(err)}, nil
		}
		return conn, nil
	}
}

// failedConn is a connection that couldn't be made: its first use fails with the reason. go-redis, told of as many failed dials as it may
// have connections, wouldn't dial for the next second at least, whoever asks, and so find a server late that is back.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)       { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)      { return 0, c.err }
func (failedConn) Close() error                     { return nil }
func (failedConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (failedConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (failedConn) SetDeadline(time.Time) error      { return nil }
func (failedConn) SetReadDeadline(time.Time) error  { return nil }
func (failedConn) SetWriteDeadline(time.Time) error { return nil }

func unsentError(err error) error {
	switch {
	case errors.Is(err, redis.ErrClosed):
		return err
	case errors.Is(err, redis.Nil):
		err = errNoMaster
	}
	return &dialError{plain(err)}
}

func (g *guard) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if isHandshake(cmd) {
			return handshake(next(ctx, cmd))
		}
		probe, err := g.enter(ctx)
		if err != nil {
			return err
		}
		err = next(ctx, cmd)
		return g.leave(probe, err, err)
	}
}

func (g *guard) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && isHandshake(cmds[0]) {
			return handshake(next(ctx, cmds))
		}
		// A Cluster client puts the pipeline back for another round without asking. It has waited for a connection once.
		if g.cluster && len(cmds) > 0 && errors.Is(cmds[0].Err(), redis.ErrPoolTimeout) {
			return cmds[0].Err()
		}
		probe, err := g.enter(ctx)
		if err != nil {
			for _, cmd := range cmds { // go-redis leaves them without an error
				cmd.SetErr(err)
			}
			return err
		}
		err = next(ctx, cmds)
		return g.leave(probe, err, worst(cmds, err))
	}
}

// handshake makes a failure of the first commands on a connection one to connect: the caller's command was not sent.
func handshake(err error) error {
	if err == nil || isReply(err) {
		return err
	}
	return unsentError(err)
}

// worst finds a failure of the connection behind the first error of a pipeline, which may be a reply.
func worst(cmds []redis.Cmder, err error) error {
	if err == nil || !isReply(err) {
		return err
	}
	for _, cmd := range cmds {
		if e := cmd.Err(); e != nil && !isReply(e) {
			return e
		}
	}
	return err
}

func (g *guard) enter(ctx context.Context) (probe bool, err error) {
	if g.breaker == nil {
		return false, nil
	}
	// Of a context that has ended before, the node knows nothing.
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return g.breaker.enter()
}

// leave reports the worst of a call, and returns its error as a Cluster client may see it.
func (g *guard) leave(probe bool, err, worst error) error {
	if g.breaker != nil {
		v := good
		if worst != nil && worst != redis.Nil { //nolint:errorlint // the fast path
			v = g.judge(worst)
		}
		g.breaker.leave(probe, v, worst)
	}
	if g.cluster && err != nil && errors.Is(err, redis.ErrPoolTimeout) {
		return &queueError{err}
	}
	return err
}

func (g *guard) judge(err error) verdict {
	if isReply(err) {
		return good
	}
	if e, ok := errors.AsType[*linkError](err); ok {
		if e.judged.Swap(true) {
			return noVerdict
		}
		return bad
	}
	if _, ok := errors.AsType[*dialError](err); ok {
		if errors.Is(err, context.Canceled) {
			return noVerdict
		}
		return bad
	}
	// The caller's time ran out before a connection was there. With connections to spare, it was waiting for a dial.
	if errors.Is(err, context.DeadlineExceeded) && int(g.client.PoolStats().TotalConns) < g.client.Options().PoolSize {
		return bad
	}
	return noVerdict
}
