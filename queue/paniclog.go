package queue

import (
	"log/slog"
	"sync"
	"time"
)

// panicLog logs handlers' panics, one a second at most: a handler that panics on every task must not fill the disk.
type panicLog struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

func (l *panicLog) log(to *slog.Logger, id string, p *PanicError) {
	if suppressed, ok := l.allow(); ok {
		to.Error("queue: handler panicked", "id", id, "panic", p.Value, "suppressed", suppressed, "stack", string(p.Stack))
	}
}

// allow says whether to log now, and how many panics have gone unlogged since the last one.
func (l *panicLog) allow() (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && time.Since(l.last) < time.Second {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed, l.last = l.suppressed, 0, time.Now()
	return suppressed, true
}
