package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	lookEvery = 500 * time.Millisecond
	// lateLook is how late a look may be for verdicts to be given by it: after a longer pause of this process, beats
	// that are here already may not have been read. A few looks in a row are let pass for that.
	lateLook  = 250 * time.Millisecond
	lateLooks = 4
	// stillLook is a lateness that counts as blindness: more than queues hold may have happened meanwhile.
	stillLook   = 2 * time.Second
	forgetEvery = 10 * time.Second
	stopTimeout = 5 * time.Second
)

// Run listens, notices silence and tells of it until ctx ends, and blocks all the while; it can be called once. The
// error is nil unless a client that heeds no contexts kept something going for 5 seconds more.
func (m *Monitor) Run(ctx context.Context) error {
	if m.started.Swap(true) {
		return errors.New("heartbeat: Monitor.Run was called before: make a new Monitor")
	}
	m.judging.Store(true)
	defer m.judging.Store(false)
	var wg sync.WaitGroup
	seeing := make(chan struct{}, 1)
	nudge := make(chan struct{}, 1)
	if m.radio != nil {
		wg.Go(func() { m.radio.listen(ctx, ear{m, nudge}) })
		wg.Go(func() { m.canaries(ctx, nudge) })
		wg.Go(func() { m.sweepKept(ctx, seeing) })
	}
	m.lookOut(ctx, seeing)
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("heartbeat: the monitor's Redis client was still at work %v after the end of Run's context", stopTimeout)
	}
}

// lookOut looks at everything again and again.
func (m *Monitor) lookOut(ctx context.Context, seeing chan<- struct{}) {
	var forgotten time.Duration
	late := 0
	for {
		before := m.now()
		if !m.rest(ctx, lookEvery) {
			return
		}
		now := m.now()
		switch delay := now - before - lookEvery; {
		case delay >= stillLook:
			m.stoodStill(before, now)
			late = 0
		case delay >= lateLook && late < lateLooks:
			late++
			continue
		default:
			late = 0
		}
		if now-forgotten >= forgetEvery {
			forgotten = now
			m.forget(now)
		}
		m.look(ctx, seeing)
	}
}

func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stoodStill notes that this process was not running.
func (m *Monitor) stoodStill(from, to time.Duration) {
	why := fmt.Sprintf("this monitor stood still for %v", (to - from).Round(time.Second/10))
	if m.radio != nil {
		m.sight.unprove(why, from)
		return
	}
	m.sight.stoodStill(span{from, to})
	m.say(Event{Kind: EventBlind, Why: why})
	m.say(Event{Kind: EventSighted, Why: "it runs again"})
}

// look gives the verdicts that are due, as far as the monitor can trust its ears.
func (m *Monitor) look(ctx context.Context, seeing chan<- struct{}) {
	now := m.now()
	trusted, event := true, Event{}
	if m.radio != nil {
		trusted, event = m.sight.look(now)
	}
	m.say(event)
	if !trusted {
		m.unheard = 0
		return
	}
	select {
	case seeing <- struct{}{}:
	default:
	}
	since, _ := m.sight.since()
	people, due := m.census(m.trust(), now)
	held, event := m.mass.look(people, due.dying, &m.cfg, now)
	m.say(event)
	if held {
		due.drop(Dead)
	}
	if opinion, ok := m.opinions(ctx, due.keys); ok {
		m.settle(due.keys, since, opinion, held)
	}
	for _, service := range m.roster.absent(now, since, m.cfg.Thresholds.Dead) {
		m.say(Event{Kind: EventMissing, Service: service, Why: fmt.Sprintf("expected, and nothing of it was heard for %v", m.cfg.Thresholds.Dead)})
	}
}

// trust returns since when silence counts.
func (m *Monitor) trust() sighted {
	since, _ := m.sight.since()
	return sighted{max(since, m.mass.recovered())}
}

// say tells of what concerns more than one instance, and logs it.
func (m *Monitor) say(e Event) {
	switch e.Kind {
	case "":
		return
	case EventSighted, EventMassOver:
		m.cfg.Logger.Info("heartbeat: monitor", "event", string(e.Kind), "why", e.Why)
	default:
		m.cfg.Logger.Warn("heartbeat: monitor", "event", string(e.Kind), "service", e.Service, "why", e.Why)
	}
	m.feed.tell(e)
}

// canaries sends one at every beat of its own, and one at once when a path was subscribed.
func (m *Monitor) canaries(ctx context.Context, nudge <-chan struct{}) {
	for {
		bounded, cancel := context.WithTimeout(ctx, canaryEvery)
		m.sight.sending(m.radio.canary(bounded, m.sight.token(m.now())))
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-nudge:
		case <-time.After(canaryEvery):
		}
	}
}

// sweepKept takes in what the broker has kept, once, as soon as it can be heard: for who starts after a service.
func (m *Monitor) sweepKept(ctx context.Context, seeing <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-seeing:
		}
		err := m.radio.sweep(ctx, func(kept retained) bool {
			if kept.found {
				_ = m.Observe(kept.payload, kept.age) // what is bad is counted
			}
			return ctx.Err() == nil
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		m.cfg.Logger.Warn("heartbeat: the retained beats can't be read", "err", err)
		rest(ctx, forgetEvery)
	}
}

// ear is the monitor's side of its radio.
type ear struct {
	m     *Monitor
	nudge chan<- struct{}
}

func (e ear) message(_ string, payload []byte) { _ = e.m.Observe(payload, 0) } // what is bad is counted
func (e ear) canary(path, token string)        { e.m.sight.heard(path, token) }
func (e ear) gone(path string)                 { e.m.sight.gone(path) }

func (e ear) path(path string, up bool, why string) {
	e.m.sight.path(path, up, why)
	select {
	case e.nudge <- struct{}{}:
	default:
	}
}
