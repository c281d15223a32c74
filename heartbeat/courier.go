package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxTrips bounds the trips under way. A client without read timeouts can be stuck on a dead connection for a
// quarter of an hour; the next beats go past it on others, but not without end.
const maxTrips = 4

// courier delivers messages without ever being held up by one longer than its context allows, whether the client
// heeds contexts or not. Each trip has a goroutine of its own for as long as it is under way: a call of the client
// ends at its deadline at best (and with many settings not even then), but never because its context was cancelled,
// and the goodbye must not wait for that. Safe for concurrent use.
type courier struct {
	publish publishFunc
	out     chan struct{}  // holds a token for each trip under way
	running sync.WaitGroup // the same trips
}

// deliver returns nil when the message has arrived. An error leaves open whether it has, or will.
func (c *courier) deliver(ctx context.Context, m message) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // sent now, it might overtake the goodbye
	}
	select {
	case c.out <- struct{}{}:
	default:
		return fmt.Errorf("heartbeat: %d earlier calls of the Redis client have not returned", maxTrips)
	}
	done := make(chan error, 1)
	c.running.Go(func() {
		err := errors.New("heartbeat: a hook of the Redis client ended its goroutine")
		defer func() { // deferred, so that runtime.Goexit is reported too
			<-c.out
			done <- err
		}()
		err = c.safely(ctx, m)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// safely publishes, and recovers what a hook of the client may raise.
func (c *courier) safely(ctx context.Context, m message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("heartbeat: panic: %v\n%s", r, debug.Stack())
		}
	}()
	if err := c.publish(ctx, m); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}
