package heartbeat

import (
	"context"
	"time"
)

// watchEvery is how soon a stuck loop is noticed.
const watchEvery = time.Second

// watch looks after the loops, and tells systemd about them, until alive ends; running ends when the service is asked
// to stop.
func (m *Manager) watch(running, alive context.Context) {
	looks := time.NewTicker(watchEvery)
	defer looks.Stop()
	pings, stopPings := every(orDefault(m.cfg.Systemd.Watchdog/2, -1))
	defer stopPings()
	systemd := herald{to: m.cfg.Systemd, log: episodes{log: m.pub.episodes.log, what: "notifications of systemd"}}
	asked, stuck := running.Done(), false
	for m.look(running, &systemd, &stuck); ; {
		select {
		case <-looks.C:
			m.look(running, &systemd, &stuck)
		case <-pings:
			if running.Err() != nil || !failing(m.liveness()) { // ready or not: it is the dependencies that may be slow
				systemd.tell(alive, "WATCHDOG=1")
			}
		case <-asked:
			m.stopping(alive, &systemd)
			asked = nil
		case <-alive.Done():
			if asked != nil {
				m.stopping(alive, &systemd)
			}
			return
		}
	}
}

// stopping says that the service was asked to stop: its goodbye may take a while.
func (m *Manager) stopping(ctx context.Context, systemd *herald) {
	m.Drain()
	systemd.tell(context.WithoutCancel(ctx), "STOPPING=1")
}

// look has a beat sent when the loops got stuck or free, and tells systemd when the service has become ready.
func (m *Manager) look(running context.Context, systemd *herald, stuck *bool) {
	if now := m.pub.loops.stuck() != nil; now != *stuck {
		*stuck = now
		select {
		case m.changed <- struct{}{}:
		default: // there is one to come
		}
	}
	if !systemd.ready && systemd.to.Socket != "" && running.Err() == nil && !failing(m.readiness(running)) {
		systemd.ready = systemd.tell(running, "READY=1")
	}
}

// herald tells systemd, and logs the begin and the end of trouble with that. Not safe for concurrent use.
type herald struct {
	to    Systemd
	log   episodes
	ready bool // systemd knows
}

func (h *herald) tell(ctx context.Context, state string) bool {
	if h.to.Socket == "" {
		return false
	}
	err := h.to.notify(ctx, state)
	h.log.beat(ctx, err)
	return err == nil
}
