package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Run sends beats until ctx ends: one at once, the next after a random part of the interval, and then one per
// interval, less the jitter. A beat that fails is counted and logged, and does not keep the next one from its time.
//
// When ctx ends, Run cancels the beat under way, says goodbye with a last one, and waits for collectors and calls of the
// client that have not returned, all within Config.DrainTimeout; after such a call it says goodbye once more. It returns nil when the goodbye has arrived and nothing is left
// running; otherwise the error says what failed and names what is stuck. Call it once; wait for it before the
// process ends, or nobody hears the goodbye.
func (p *Publisher) Run(ctx context.Context) error {
	if p.ran.Swap(true) {
		return errors.New("heartbeat: Run was called before: make a new Publisher")
	}
	p.tally.setRunning(true)
	defer p.tally.setRunning(false)
	p.announce(ctx)

	for planned, wait := time.Now(), p.firstWait(); ctx.Err() == nil; wait = p.wait() {
		begun := time.Now()
		_ = p.beat(ctx, false, begun.Sub(planned)) // counted and logged there
		planned = begun.Add(wait)
		sleepUntil(ctx, planned)
	}
	return p.drain(ctx)
}

// announce logs where beats go, and that the stream they go to is capped.
func (p *Publisher) announce(ctx context.Context) {
	where := []any{"interval", p.cfg.Interval, "channels", p.cfg.Channels}
	if p.cfg.Retain > 0 {
		where = append(where, "retain_key", p.cfg.RetainKey, "retain", p.cfg.Retain)
	}
	if p.cfg.Stream != "" {
		where = append(where, "stream", p.cfg.Stream, "stream_max_len", p.cfg.StreamMaxLen)
	}
	p.episodes.log.InfoContext(ctx, "heartbeats begin", where...)
}

// firstWait returns the wait from the first beat to the second. It spreads a fleet that was started together over the
// whole interval.
func (p *Publisher) firstWait() time.Duration {
	if p.cfg.Jitter == 0 {
		return p.cfg.Interval
	}
	// Not below Timeout, so that the first beat always ends in time.
	return p.cfg.Timeout + rand.N(p.cfg.Interval-p.cfg.Timeout+1)
}

// wait returns that between two later beats.
func (p *Publisher) wait() time.Duration {
	return p.cfg.Interval - time.Duration(rand.Float64()*p.cfg.Jitter*float64(p.cfg.Interval))
}

func sleepUntil(ctx context.Context, t time.Time) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drain says goodbye under a context that outlives ctx, and sees to it that nothing stays behind unnamed.
func (p *Publisher) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DrainTimeout)
	defer cancel()
	p.ended.Store(true)
	p.collectors.cancel(errGoodbye)
	underway := len(p.courier.out) > 0
	goodbye := p.beat(ctx, true, 0)
	p.awaitIdle(ctx)
	if underway && ctx.Err() == nil { // what was under way may have come after the goodbye, and its copy be what is kept
		goodbye = p.beat(ctx, true, 0)
		p.awaitIdle(ctx)
	}
	if goodbye != nil {
		goodbye = fmt.Errorf("heartbeat: the goodbye has not been confirmed: %w", goodbye)
	}
	if stuck := p.stuck(); stuck != "" {
		return errors.Join(goodbye, fmt.Errorf("heartbeat: still running %s after the end: %s", p.cfg.DrainTimeout, stuck))
	}
	return goodbye
}

// awaitIdle waits until nothing that was started is running, or ctx ends: then it leaves a goroutine that ends with
// the last of what is.
func (p *Publisher) awaitIdle(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		p.collectors.running.Wait()
		p.courier.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// stuck names what is still running; empty when nothing is.
func (p *Publisher) stuck() string {
	var parts []string
	for _, name := range p.collectors.stuck() {
		parts = append(parts, fmt.Sprintf("collector %q", name))
	}
	if n := len(p.courier.out); n > 0 {
		parts = append(parts, fmt.Sprintf("%d calls of the Redis client", n))
	}
	return strings.Join(parts, ", ")
}
