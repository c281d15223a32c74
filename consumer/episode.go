package consumer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// reminder is how often a failure that goes on is logged again.
const reminder = time.Minute

// episode is a run of failures of the same operation: logged at its start, once per minute and at its end. For one goroutine.
type episode struct {
	log  *slog.Logger
	what string

	failures int
	since    time.Time
	logged   time.Time
}

// wait takes note of a failure and waits before the next try. It reports false if ctx has ended.
func (e *episode) wait(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	now := time.Now()
	if e.failures == 0 {
		e.since = now
	}
	e.failures++
	if e.failures == 1 || now.Sub(e.logged) >= reminder {
		e.logged = now
		e.log.Warn("consumer: can't "+e.what+", trying again", "failures", e.failures, "error", err)
	}
	return sleep(ctx, backoff.Exponential(e.failures, firstPause, longestPause))
}

// over takes note of a success.
func (e *episode) over() {
	if e.failures > 0 {
		e.log.Info("consumer: can "+e.what+" again", "failures", e.failures, "after", time.Since(e.since))
		e.failures = 0
	}
}

// jitter is how much of a pause may be cut off, so that those who failed together don't come back together.
const jitter = 0.2

// sleep waits for d, or somewhat less. It reports false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(backoff.Shorten(d, jitter, rand.Float64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
