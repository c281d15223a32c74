package redisblock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// longestBlock bounds one command on the wire, so that a connection whose other side has vanished is noticed.
	longestBlock = 30 * time.Second
	// sliceBlock does so where the server can't be asked to end a command: the rest of it is waited for.
	sliceBlock = 15 * time.Millisecond
	// grace is how long a server may take to answer once the context has ended, before the connection counts as dead.
	grace = time.Second
	// wakeTimeout bounds one request to wake the server; several fit into grace.
	wakeTimeout = grace / 4
	// defaultMargin is how late a reply may be where the client sets no ReadTimeout; minMargin, where it sets a short one: an idle
	// server looks at its clock ten times a second only.
	defaultMargin, minMargin = 5 * time.Second, time.Second
)

// ErrClosed is returned by Do after Close.
var ErrClosed = errors.New("redisblock: connection is closed")

// Conn is a connection for blocking commands. It is made again by itself after an error. Not safe for concurrent use.
type Conn struct {
	origin *redis.Client
	waker  *redis.Client // origin with wakeTimeout: it shares origin's pool and is not to be closed
	margin time.Duration
	link   *link // nil until the next Do connects
	closed bool
}

// Open connects, with the settings of c but outside its pool, and learns whether commands can be unblocked. It returns as soon as
// ctx ends, and in bounded time without that. Hooks of c do not apply to the new connection. c has to stay open for as long as the
// Conn is in use: it wakes blocked commands.
//
// In a cluster, c is the client of the node that has the keys: see [ClientFor].
func Open(ctx context.Context, c *redis.Client) (*Conn, error) {
	margin := c.Options().ReadTimeout
	if margin <= 0 {
		margin = defaultMargin
	}
	conn := &Conn{origin: c, waker: c.WithTimeout(wakeTimeout), margin: max(margin, minMargin)}
	if err := conn.connect(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// Do runs one blocking command. call is given the connection and how long it may block, at least a millisecond, and returns
// redis.Nil when nothing came in that time; it may be called several times, as long waits are cut into pieces. It is to pass its own
// ctx on, which carries the deadline of the reply but isn't cancelled with the caller's.
//
// Do returns nil as soon as call does, even if ctx has ended in the meantime; redis.Nil when block is over; the cause of ctx when
// that ended first; and otherwise the error of call, after which the connection is replaced by the next Do. A block of
// zero or less waits until ctx ends.
//
// The typed methods of go-redis for lists and sorted sets (BLPop, BLMove, BZPopMin) round up to whole seconds: build those
// commands with redis.NewStringSliceCmd and its like.
func (c *Conn) Do(
	ctx context.Context, block time.Duration, call func(ctx context.Context, conn *redis.Conn, block time.Duration) error,
) error {
	if c.closed {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.link == nil {
		if err := c.connect(ctx); err != nil {
			return err
		}
	}
	wake := c.wakeAfter(ctx)
	err := errUnfinished
	defer func() {
		if severed := wake.stop(); severed || (err != nil && !errors.Is(err, redis.Nil)) {
			c.disconnect()
		}
	}()
	err = c.block(ctx, block, call)
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case errors.Is(err, redis.Nil):
		return context.Cause(ctx)
	default:
		return fmt.Errorf("%w (the connection failed as well: %w)", context.Cause(ctx), err)
	}
}

// errUnfinished is what Do sees of a call that panicked: nobody knows what is still to be read from that connection.
var errUnfinished = errors.New("redisblock: call did not return")

// block repeats call until something came, time is up or ctx ended.
func (c *Conn) block(
	ctx context.Context, block time.Duration, call func(ctx context.Context, conn *redis.Conn, block time.Duration) error,
) error {
	start := time.Now()
	for {
		piece := c.link.longestBlock()
		if block > 0 {
			piece = min(piece, block-time.Since(start))
		}
		// A millisecond is the finest that XREADGROUP knows: less would be sent as 0, which blocks for ever.
		err := c.once(ctx, max(piece, time.Millisecond), call)
		if !errors.Is(err, redis.Nil) || ctx.Err() != nil {
			return err
		}
		if block > 0 && time.Since(start) >= block {
			return err
		}
	}
}

func (c *Conn) once(
	ctx context.Context, piece time.Duration, call func(ctx context.Context, conn *redis.Conn, block time.Duration) error,
) error {
	// The end of ctx must not end the read: the reply may carry an element.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), piece+c.margin)
	defer cancel()
	return call(ctx, c.link.Conn, piece)
}

// Live tells whether there is a connection, so that the next Do doesn't have to make one.
func (c *Conn) Live() bool { return c.link != nil }

// Socket is what the connection runs over, TLS included; nil if it isn't live. It is for a look at whether an idle one has ended.
func (c *Conn) Socket() net.Conn {
	if c.link == nil {
		return nil
	}
	return c.link.Socket()
}

// Close closes the connection. It doesn't block, and may be called again.
func (c *Conn) Close() error {
	c.closed = true
	c.disconnect()
	return nil
}

func (c *Conn) connect(ctx context.Context) error {
	l, err := dial(ctx, c.origin, c.margin)
	c.link = l
	return err
}

func (c *Conn) disconnect() {
	if c.link != nil {
		c.link.Close()
		c.link = nil
	}
}
