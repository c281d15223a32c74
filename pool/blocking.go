package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redisblock"
)

// Blocking runs commands that wait, each on a connection of its own that no other client shares. Safe for concurrent use.
//
// A call waits for timeout, which may be a fraction of a second, but no longer than the profile's BlockingTimeout, and that long if
// timeout is zero. When nothing came it returns redis.Nil. When ctx ends it returns within 50 ms on a live connection and a second or so on a dead
// one: with what had arrived if something had, else with the cause of ctx. Nothing is retried.
//
// When BlockingConnections calls wait already, another waits for its turn; that counts as part of timeout, and
// the error is redis.ErrPoolTimeout if it didn't come.
type Blocking struct {
	control redis.UniversalClient // finds nodes and wakes blocked commands
	longest time.Duration
	turns   chan struct{}
	life    context.Context // ends with close
	end     context.CancelCauseFunc
	calls   sync.WaitGroup

	shelf   shelf
	waiting atomic.Int32 // for a turn

	mu     sync.Mutex // guards closed, and calls.Add against close
	closed bool
}

func newBlocking(control redis.UniversalClient, cfg Config) *Blocking {
	p := cfg.Profile
	b := &Blocking{
		control: control,
		longest: p.BlockingTimeout,
		turns:   make(chan struct{}, p.BlockingConnections),
		shelf:   shelf{limit: p.BlockingConnections, maxIdle: p.HealthCheckInterval, lifetime: cfg.limits.lifetime},
	}
	b.life, b.end = context.WithCancelCause(context.Background())
	return b
}

// call is one command as redisblock runs it.
type call = func(ctx context.Context, conn *redis.Conn, block time.Duration) error

// do runs a command on the node of key.
func (b *Blocking) do(ctx context.Context, timeout time.Duration, key string, run call) error {
	if timeout <= 0 || timeout > b.longest {
		timeout = b.longest
	}
	deadline := time.Now().Add(timeout)
	ctx, leave, err := b.enter(ctx, timeout)
	if err != nil {
		return err
	}
	defer leave()
	err = b.onNode(ctx, key, deadline, run)
	if _, moved := redis.IsMovedError(err); !moved {
		return err
	}
	// The server refused it, so it may be sent again, to where the slot is now.
	if cluster, ok := b.control.(*redis.ClusterClient); ok {
		if reloadErr := reload(ctx, cluster); reloadErr != nil {
			return errors.Join(err, reloadErr)
		}
		err = b.onNode(ctx, key, deadline, run)
	}
	return err
}

// reload learns the topology. ReloadState would do so later, in the background.
func reload(ctx context.Context, cluster *redis.ClusterClient) error {
	return cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
}

// enter takes a turn. The context that it returns ends with Blocking as well.
func (b *Blocking) enter(ctx context.Context, timeout time.Duration) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx) // first, as it panics if ctx is nil, and close would wait for that call for ever
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		cancel(nil)
		return nil, nil, redis.ErrClosed
	}
	b.calls.Add(1)
	b.mu.Unlock()

	unlink := context.AfterFunc(b.life, func() { cancel(context.Cause(b.life)) })
	leave := func() {
		unlink()
		cancel(nil)
		b.calls.Done()
	}
	taken := func() { <-b.turns; leave() }
	select {
	case b.turns <- struct{}{}:
		return ctx, taken, nil
	default:
	}
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case b.turns <- struct{}{}:
		return ctx, taken, nil
	case <-timer.C:
		leave()
		return nil, nil, fmt.Errorf("pool: all %d blocking connections are waiting: %w", cap(b.turns), redis.ErrPoolTimeout)
	case <-ctx.Done():
		err := context.Cause(ctx)
		leave()
		return nil, nil, err
	}
}

func (b *Blocking) onNode(ctx context.Context, key string, deadline time.Time, run call) error {
	node, err := redisblock.ClientFor(ctx, b.control, key)
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	conn := b.shelf.take(node)
	if conn == nil {
		made, err := redisblock.Open(ctx, node)
		if err != nil {
			b.shelf.give(node, nil)
			return fmt.Errorf("pool: %w", err)
		}
		conn = b.shelf.wrap(made)
	}
	err = conn.Do(ctx, max(time.Until(deadline), time.Millisecond), run)
	if !conn.Live() {
		// Do would connect again, but the next call may be for another node, or never come.
		conn = nil
	}
	b.shelf.give(node, conn)
	return err
}

func (b *Blocking) stats() BlockingStats {
	s := b.shelf.stats()
	s.Waiting = int(b.waiting.Load())
	return s
}

// close ends all calls and waits for them.
func (b *Blocking) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.end(redis.ErrClosed)
	b.calls.Wait()
	b.shelf.close()
}
