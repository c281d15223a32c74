package redisstream

import (
	"context"
	"slices"
	"sync"
	"time"
)

// alarm knows when a lane has to look for entries that are to be delivered again, and wakes it from a read that would last longer.
// Safe for concurrent use.
type alarm struct {
	mu        sync.Mutex
	times     []time.Time // ascending
	interrupt context.CancelFunc
}

// closeBy is how far apart two alarms are at least: what is due shortly before one waits for it.
const closeBy = 50 * time.Millisecond

// set adds an alarm, unless there is one at t or shortly after it.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.times, t, time.Time.Compare)
	if i < len(a.times) && a.times[i].Sub(t) < closeBy {
		return
	}
	a.times = slices.Insert(a.times, i, t)
	if i == 0 && a.interrupt != nil {
		a.interrupt()
	}
}

// wait returns how long it is until the next alarm, longest at most. interrupt is called if that changes, until done.
func (a *alarm) wait(longest time.Duration, interrupt context.CancelFunc) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.interrupt = interrupt
	if len(a.times) == 0 {
		return longest
	}
	return min(longest, time.Until(a.times[0]))
}

func (a *alarm) done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.interrupt = nil
}

// due reports whether it is time.
func (a *alarm) due() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.times) > 0 && !time.Now().Before(a.times[0])
}

// clear removes the alarms up to t.
func (a *alarm) clear(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.times, t.Add(1), time.Time.Compare)
	a.times = slices.Delete(a.times, 0, i)
}
