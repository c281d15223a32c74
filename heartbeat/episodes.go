package heartbeat

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// episodes logs the begin and the end of trouble, and not every beat of it. Not safe for concurrent use.
type episodes struct {
	log     *slog.Logger
	what    string    // what gets through or does not, such as "heartbeats"
	since   time.Time // when beats began to fail; zero while they get through
	failed  int       // beats since then
	failing map[string]bool
}

// beat takes note of how a beat went. One that was cancelled by its caller is no trouble.
func (e *episodes) beat(caller context.Context, err error) {
	switch {
	case err == nil && !e.since.IsZero():
		e.log.InfoContext(caller, e.what+" get through again", "failed", e.failed, "after", time.Since(e.since).Round(time.Millisecond))
		e.since, e.failed = time.Time{}, 0
	case err == nil, errors.Is(caller.Err(), context.Canceled):
	case e.since.IsZero():
		e.log.WarnContext(caller, e.what+" do not get through; the next ones will be tried without further notice", "error", err)
		e.since, e.failed = time.Now(), 1
	default:
		e.failed++
	}
}

// collectors takes note of those that failed in a beat.
func (e *episodes) collectors(ctx context.Context, failed map[string]error) {
	for name := range e.failing {
		if failed[name] == nil {
			delete(e.failing, name)
			e.log.InfoContext(ctx, "collector works again", "collector", name)
		}
	}
	for name, err := range failed {
		if !e.failing[name] {
			e.failing[name] = true
			e.log.WarnContext(ctx, "collector failed; beats go out without its field", "collector", name, "error", err)
		}
	}
}
