package heartbeat

import (
	"fmt"
	"math"
	"sync"
	"time"
)

const massLeast = 5 // silent instances that make a mass

// massHold holds deaths back while most of the fleet is silent: that is seldom the end of all of them, and most often
// something between them and the monitor. It ends when they are heard again, or when its time is up.
type massHold struct {
	mu    sync.Mutex
	held  bool          // guarded by mu
	spent bool          // guarded by mu; the time was up, and the mass has not been heard since
	begun time.Duration // guarded by mu
	until time.Duration // guarded by mu
	most  int           // guarded by mu; that were silent at once during this hold
	over  time.Duration // guarded by mu; when most were last heard again: the others get the time to follow
}

// census counts the living, and those of them that are silent.
type census struct{ living, silent int }

func (c census) share() float64 { return float64(c.silent) / float64(max(c.living, 1)) }

func (h *massHold) recovered() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

func (h *massHold) on() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// look says whether deaths are to be held back, and what there is to tell. dying is whether any is due.
func (h *massHold) look(c census, dying bool, cfg *MonitorConfig, now time.Duration) (held bool, e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mass := cfg.MassShare > 0 && c.silent >= massLeast && c.share() >= cfg.MassShare
	switch {
	case h.held && !mass:
		h.held, h.over = false, now
		e = Event{Kind: EventMassOver, Why: fmt.Sprintf("%d of %d living instances are silent, no longer most", c.silent, c.living)}
	case h.held && c.silent > h.most: // its time runs from when the last of them fell silent
		h.most, h.until = c.silent, max(h.until, min(now+cfg.MassHold, h.begun+2*cfg.MassHold))
	case h.held && now >= h.until:
		h.held, h.spent = false, true
		e = Event{Kind: EventMassOver, Why: fmt.Sprintf("%d of %d living instances are still silent, and deaths were held back for %v", c.silent, c.living, (now - h.begun).Round(time.Second))}
	case !mass:
		h.spent = false
	case dying && !h.held && !h.spent:
		h.held, h.begun, h.until, h.most = true, now, now+cfg.MassHold, c.silent
		e = Event{Kind: EventMassSilence, Why: fmt.Sprintf("%d of %d living instances are silent: their deaths are held back for up to %v after the last of them", c.silent, c.living, cfg.MassHold)}
	}
	return h.held, e
}

// snapshot returns what a restored monitor has to know: whether deaths are held back, for how long still, and whether
// that time was used up.
func (h *massHold) snapshot(now time.Duration) (held bool, left time.Duration, spent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held, max(h.until-now, 0), h.spent
}

func (h *massHold) restore(head snapshotHead, limit, now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held, h.spent, h.until = head.Held, head.Spent, now+min(max(head.Left, 0), 2*limit)
	h.begun, h.most = now, math.MaxInt // it gets no more time
}
