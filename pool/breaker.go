package pool

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Breaker says when Standard stops sending commands to a node that doesn't answer, so that callers get their error at once and the node
// gets room to recover. Each node has its own. Failures are those of the connection, timeouts included (also of
// a caller's deadline while the node was silent); replies of the server, redis.Nil, an exhausted pool and cancelled contexts are not. The zero value is on, with
// the defaults.
type Breaker struct {
	// FailureRatio is the share of failed calls that opens the breaker, 0.01 to 1. Default: 0.5. Negative: the breaker is off.
	FailureRatio float64

	// MinCalls is how many calls there have to be before the ratio counts, 1 to 1,000,000. Default: 20.
	MinCalls int

	// Window is how far back calls count, 100 ms to 10 min, counted from the first failure in it. Default: 10 s.
	Window time.Duration

	// OpenFor is how long an open breaker refuses all calls before it lets one through as a probe, 10 ms to 10 min. If the
	// probe succeeds, the breaker closes; if not, the next follows after OpenFor. Default: 250 ms.
	OpenFor time.Duration
}

func (b Breaker) withDefaults() Breaker {
	b.FailureRatio = orDefault(b.FailureRatio, 0.5)
	b.MinCalls = orDefault(b.MinCalls, 20)
	b.Window = orDefault(b.Window, 10*time.Second)
	b.OpenFor = orDefault(b.OpenFor, 250*time.Millisecond)
	return b
}

func (b Breaker) validate() error {
	if b.FailureRatio < 0 {
		return nil
	}
	d := Breaker{}.withDefaults()
	return errors.Join(
		inRange("Breaker.FailureRatio", b.FailureRatio, 0.01, 1, d.FailureRatio),
		inRange("Breaker.MinCalls", b.MinCalls, 1, 1_000_000, d.MinCalls),
		inRange("Breaker.Window", b.Window, 100*time.Millisecond, 10*time.Minute, d.Window),
		inRange("Breaker.OpenFor", b.OpenFor, 10*time.Millisecond, 10*time.Minute, d.OpenFor),
	)
}

// ErrOpen is what every [OpenError] is.
var ErrOpen = errors.New("pool: the circuit breaker is open")

// OpenError is the failure of a command that wasn't sent, because its node has not answered lately.
type OpenError struct {
	Node    string    // the address, or the name of the master that Sentinels watch
	RetryAt time.Time // when the next call goes through as a probe
	Reason  string    // the newest failure
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("pool: the circuit breaker of %s is open until %s: %s", e.Node, e.RetryAt.Format(time.RFC3339Nano), e.Reason)
}

// Is makes errors.Is(err, ErrOpen) true. The reason can't be unwrapped: it belongs to another call.
func (e *OpenError) Is(target error) bool { return target == ErrOpen }

// BreakerStats is the circuit breaker of one node.
type BreakerStats struct {
	Node     string    `json:"node"`
	State    string    `json:"state"`              // "closed", "open" or "half-open": a probe is under way
	Failures uint64    `json:"failures"`           // since Open
	Opened   uint64    `json:"opened"`             // times that it went from closed to open
	Refused  uint64    `json:"refused"`            // calls that weren't sent
	RetryAt  time.Time `json:"retry_at,omitzero"`  // when it isn't closed: the next probe
	Reason   string    `json:"reason,omitempty"`   // when it isn't closed: the newest failure
	OpenedAt time.Time `json:"opened_at,omitzero"` // when it isn't closed: since when
}

const stateClosed = "closed"

// breaker counts good calls without a lock and without looking at the clock; the rest happens when something fails.
type breaker struct {
	Breaker
	node    string
	log     *slog.Logger
	onTrip  func() // is called, not under the mutex, when it opens and when a probe fails
	born    time.Time
	good    atomic.Uint64
	refused atomic.Uint64
	until   atomic.Int64 // 0: closed; else when the next probe may go, since born
	probing atomic.Bool

	mu       sync.Mutex // guards what follows
	now, old span
	failures uint64
	opened   uint64
	openedAt time.Time
	reason   string
}

// span is half a window, which begins with a failure.
type span struct {
	start    time.Duration
	good     uint64 // breaker.good when it began
	failures uint64
}

// verdict is what a call says about its node.
type verdict int

const (
	good verdict = iota
	bad
	noVerdict
)

// enter tells whether a call may go, and whether it is a probe. A call that may go ends with leave.
func (b *breaker) enter() (probe bool, err error) {
	until := b.until.Load()
	if until == 0 {
		return false, nil
	}
	now := time.Since(b.born)
	// A probe that hangs, on a node that swallows what it gets, doesn't keep another from going.
	if int64(now) >= until && b.until.CompareAndSwap(until, int64(now+b.OpenFor)) {
		b.probing.Store(true)
		return true, nil
	}
	b.refused.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	return false, &OpenError{Node: b.node, RetryAt: b.born.Add(time.Duration(b.until.Load())), Reason: b.reason}
}

func (b *breaker) leave(probe bool, v verdict, err error) {
	switch {
	case v == bad:
		b.fail(probe, err)
	case !probe:
		if v == good {
			b.good.Add(1)
		}
	case v == good:
		b.close()
	default: // the caller left before the node said anything: another may try now
		b.probing.Store(false)
		b.until.Store(max(1, int64(time.Since(b.born))))
	}
}

func (b *breaker) fail(probe bool, err error) {
	b.mu.Lock()
	now := time.Since(b.born)
	b.failures++
	b.reason = err.Error()
	tripped := false
	switch {
	case b.until.Load() != 0:
		if probe {
			b.probing.Store(false)
			b.until.Store(int64(now + b.OpenFor))
		}
	case b.countLocked(now):
		tripped = true
		b.opened++
		b.openedAt = time.Now()
		b.until.Store(int64(now + b.OpenFor))
	}
	b.mu.Unlock()
	if tripped {
		b.log.Warn("pool: circuit breaker opened", "node", b.node, "error", err)
	}
	if (tripped || probe) && b.onTrip != nil {
		b.onTrip()
	}
}

// countLocked adds a failure to the window, and tells whether it was one too many.
func (b *breaker) countLocked(now time.Duration) bool {
	calls := b.good.Load()
	if b.now.failures == 0 || now-b.now.start > b.Window/2 {
		b.old, b.now = b.now, span{start: now, good: calls}
	}
	if now-b.old.start > b.Window {
		b.old = span{good: b.now.good}
	}
	b.now.failures++
	failures := b.old.failures + b.now.failures
	all := failures + calls - b.old.good
	return all >= uint64(b.MinCalls) && float64(failures) >= b.FailureRatio*float64(all)
}

func (b *breaker) close() {
	b.mu.Lock()
	was := b.openedAt
	b.now, b.old = span{start: time.Since(b.born), good: b.good.Load()}, span{}
	b.openedAt, b.reason = time.Time{}, ""
	b.probing.Store(false)
	b.until.Store(0)
	b.mu.Unlock()
	if !was.IsZero() {
		b.log.Info("pool: circuit breaker closed", "node", b.node, "after", time.Since(was))
	}
}

func (b *breaker) stats() BreakerStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerStats{Node: b.node, State: stateClosed, Failures: b.failures, Opened: b.opened, Refused: b.refused.Load()}
	until := b.until.Load()
	if until == 0 {
		return s
	}
	s.State, s.RetryAt, s.Reason, s.OpenedAt = "open", b.born.Add(time.Duration(until)), b.reason, b.openedAt
	if b.probing.Load() {
		s.State = "half-open"
	}
	return s
}
