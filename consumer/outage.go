package consumer

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// outage is the time in which no handler gets through to the other side. While it is on, nothing new is received or started, and one
// worker probes. Safe for concurrent use.
type outage struct {
	log   *slog.Logger
	hold  func(bool)    // intake and queue
	probe chan struct{} // filled by the worker that probes

	on    atomic.Bool
	mu    sync.Mutex
	over  chan struct{} // closed at its end; nil while there is none
	since time.Time
	told  time.Time // when it was last logged
}

func newOutage(log *slog.Logger, hold func(bool)) *outage {
	return &outage{log: log, hold: hold, probe: make(chan struct{}, 1)}
}

// begin starts an outage, or joins the one that is on. The channel is closed at its end.
func (o *outage) begin(err error) (over <-chan struct{}) {
	over, first := o.join()
	if first {
		o.log.Warn("consumer: the other side can't be reached: intake is paused until it is back", "error", err)
	}
	return over
}

func (o *outage) join() (over <-chan struct{}, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		return o.over, false
	}
	o.over, o.since, o.told = make(chan struct{}), time.Now(), time.Now()
	o.on.Store(true)
	o.hold(true)
	return o.over, true
}

// goesOn logs an outage again that nobody should forget, after a probe that failed.
func (o *outage) goesOn(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil && time.Since(o.told) >= reminder {
		o.told = time.Now()
		o.log.Warn("consumer: the other side still can't be reached", "outage", time.Since(o.since), "error", err)
	}
}

// end is called after every success: it has to be cheap when there is no outage.
func (o *outage) end() {
	if !o.on.Load() {
		return
	}
	o.mu.Lock()
	over, since := o.over, o.since
	if over != nil {
		o.over = nil
		o.on.Store(false)
		o.hold(false)
		close(over)
	}
	o.mu.Unlock()
	if over != nil {
		o.log.Info("consumer: the other side is back: intake goes on", "outage", time.Since(since))
	}
}
