package consumer

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// deathsLeast is how many messages it takes to speak of a share, and deathsWindow over how many it is taken.
	deathsLeast, deathsWindow = 100, 1000
)

// deaths watches the share of dead letters. When it is too large something else than the messages is wrong, most often the handler:
// intake pauses, so that a night doesn't turn a whole stream into dead letters. Safe for concurrent use.
type deaths struct {
	log   *slog.Logger
	limit float64 // 1 or more for none
	pause time.Duration
	hold  func(bool) // intake

	mu         sync.Mutex
	done, dead int // of the window
	release    *time.Timer
	closed     bool
}

func (d *deaths) count(outcomes []Outcome) {
	if d.limit >= 1 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range outcomes {
		switch o.Kind {
		case Dead:
			d.dead++
			d.done++
		case Ack:
			d.done++
		}
	}
	switch {
	case d.closed, d.release != nil, d.done < deathsLeast: // what is settled during a pause was received before it
	case float64(d.dead) > d.limit*float64(d.done):
		d.log.Error("consumer: too many messages are dead letters: intake pauses, and goes on by itself",
			"dead", d.dead, "of", d.done, "pause", d.pause)
		d.hold(true)
		d.release = time.AfterFunc(d.pause, d.end)
	case d.done >= deathsWindow:
		d.done, d.dead = d.done/2, d.dead/2
	}
}

func (d *deaths) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release, d.done, d.dead = nil, 0, 0
	d.hold(false)
}

// close ends a pause and lets none begin.
func (d *deaths) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.release != nil {
		d.release.Stop()
	}
}
