package heartbeat

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxLoops   = 64
	minLimit   = 100 * time.Millisecond
	resting    = -1 // in place of the time of the last mark
	neverBegun = -2
)

// Loop is work that goes round and round, and says so: [Loop.Mark] belongs where a round has been done, not on a
// ticker. A loop that is not marked for longer than its limit is stuck. Made by [Manager.Progress]. Safe for
// concurrent use.
type Loop struct {
	name  string
	limit time.Duration
	base  time.Time    // when the loop was registered
	at    atomic.Int64 // of the last mark, in nanoseconds since base, or one of the constants above
}

// Mark says that work goes on. It costs a look at the clock and an atomic store, and doesn't block.
func (l *Loop) Mark() { l.at.Store(int64(time.Since(l.base))) }

// Rest says that the loop waits for work, or has ended, and can't be stuck until it is marked again. It doesn't block.
func (l *Loop) Rest() { l.at.Store(resting) }

// idle returns for how long the loop has not been marked, and whether that is too long. A loop that has never been
// marked is given until the grace has passed.
func (l *Loop) idle(now time.Time, grace time.Duration) (time.Duration, bool) {
	limit, since := l.limit, now.Sub(l.base)
	switch at := l.at.Load(); at {
	case resting:
		return 0, false
	case neverBegun:
		limit = max(limit, grace)
	default:
		since -= time.Duration(at)
	}
	return max(since, 0), since > limit
}

// loops are those of one process. Safe for concurrent use.
type loops struct {
	grace time.Duration

	mu  sync.Mutex
	all []*Loop // guarded by mu
}

// add registers a loop. It is a loop to mark even when it is refused.
func (ls *loops) add(name string, limit time.Duration) (*Loop, error) {
	l := &Loop{name: name, limit: limit, base: time.Now()}
	l.at.Store(neverBegun)
	if err := ValidateName(name); err != nil {
		return l, fmt.Errorf("heartbeat: loop name can't be used: %w", err)
	}
	if limit < minLimit || limit > maxInterval {
		return l, fmt.Errorf("heartbeat: limit of loop %q is %v: want %v to %v", name, limit, minLimit, maxInterval)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, other := range ls.all {
		if other.name == name {
			return l, fmt.Errorf("heartbeat: loop %q is there already", name)
		}
	}
	if len(ls.all) >= maxLoops {
		return l, fmt.Errorf("heartbeat: loop %q is one too many: want at most %d", name, maxLoops)
	}
	ls.all = append(ls.all, l)
	return l, nil
}

// checks returns what is to be said of each loop.
func (ls *loops) checks() []check {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now, checks := time.Now(), make([]check, 0, len(ls.all))
	for _, l := range ls.all {
		c := check{name: l.name}
		if idle, stuck := l.idle(now, ls.grace); stuck {
			c.err = fmt.Errorf("no progress for %v: its limit is %v", idle.Round(time.Millisecond), l.limit)
		}
		checks = append(checks, c)
	}
	return checks
}

// stuck returns the stuck loops and for how long each has made no progress; nil when there are none.
func (ls *loops) stuck() map[string]time.Duration {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var stuck map[string]time.Duration
	now := time.Now()
	for _, l := range ls.all {
		idle, is := l.idle(now, ls.grace)
		if !is {
			continue
		}
		if stuck == nil {
			stuck = map[string]time.Duration{}
		}
		stuck[l.name] = idle
	}
	return stuck
}
