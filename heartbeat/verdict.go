package heartbeat

import (
	"context"
	"slices"
	"time"
)

const (
	askBatch     = 512
	askMost      = 8 * askBatch // in one look
	askTimeout   = 2 * time.Second
	askPatience  = 10 * time.Second // how long a verdict waits for a second opinion that can't be had
	keptNoNewer  = "; the beat that the broker kept is no newer"
	keptNothing  = "; the broker kept no beat of it"
	keptNoAnswer = "; no second opinion: "
)

// dues are the instances on which a verdict is due in one look.
type dues struct {
	keys  []due
	dying bool
}

type due struct {
	key   instanceKey
	state State
}

func (d *dues) drop(state State) {
	d.keys = slices.DeleteFunc(d.keys, func(k due) bool { return k.state == state })
}

// census counts the living and the silent, and lists what is due, up to askMost. Deaths that are held back are not
// listed: they would keep others from their turn.
func (m *Monitor) census(s sighted, now time.Duration) (c census, d dues) {
	held := m.mass.on()
	m.each(func(_ *shard, r *record) {
		if r.state == Dead || r.state == Stopped {
			m.calmLocked(r, now)
			return
		}
		c.living++
		if r.state == Stale {
			c.silent++
		}
		if now < r.due {
			return
		}
		m.calmLocked(r, now)
		limits := m.limits(r)
		state, next := r.silence(limits, s, now)
		switch {
		case state == r.state, state != Stale && state != Dead:
			r.due = next
			if r.flapping {
				r.due = min(next, r.calmAt())
			}
			return
		case r.state != Stale && now-r.seen >= limits.Stale:
			c.silent++
		}
		d.dying = d.dying || state == Dead
		if len(d.keys) < askMost && (!held || state != Dead) {
			d.keys = append(d.keys, due{instanceKey{r.service(), r.instance()}, state})
		}
	})
	return c, d
}

// opinions asks the broker for the beats that it kept of these instances, and takes them in. It returns what is to
// be said of each, and false when no verdict may be given now: the broker does not answer, which is no sign of
// anybody's death. It is not waited for without end.
func (m *Monitor) opinions(ctx context.Context, of []due) ([]string, bool) {
	notes := make([]string, len(of))
	if m.radio == nil || len(of) == 0 {
		return notes, true
	}
	began := m.now()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for i := 0; i < len(of); i += askBatch {
		batch := of[i:min(i+askBatch, len(of))]
		keys := make([]instanceKey, len(batch))
		for j, d := range batch {
			keys[j] = d.key
		}
		answers, err := m.radio.newest(ctx, keys)
		if now := m.now(); now-began >= askTimeout+stillLook {
			m.stoodStill(began, now)
			return nil, false
		}
		if err != nil || len(answers) != len(batch) {
			return m.unanswered(notes, err)
		}
		for j, kept := range answers {
			notes[i+j] = keptNothing
			if kept.found {
				notes[i+j] = keptNoNewer
				_ = m.Observe(kept.payload, kept.age) // what is bad is counted
			}
		}
	}
	m.unheard = 0
	return notes, true
}

func (m *Monitor) unanswered(notes []string, err error) ([]string, bool) {
	now := m.now()
	if m.unheard == 0 {
		m.unheard = now
	}
	if now-m.unheard < askPatience {
		return nil, false
	}
	why := "no answer"
	if err != nil {
		why = oneLine(err.Error(), maxReason)
	}
	for i := range notes {
		notes[i] = keptNoAnswer + why
	}
	return notes, true
}

// settle gives the verdicts that are still due after the second opinion, if everything was heard since clearSince.
func (m *Monitor) settle(of []due, clearSince time.Duration, notes []string, held bool) {
	if since, trusted := m.sight.since(); !trusted || since != clearSince {
		return // the trust was lost meanwhile
	}
	s, now := m.trust(), m.now()
	for i, d := range of {
		key := appendKey(nil, []byte(d.key.service), []byte(d.key.instance))
		sh := m.shard(key)
		sh.mu.Lock()
		if r := sh.find[string(key)]; r != nil && now >= r.due {
			r.keeps = r.keeps || notes[i] == keptNoNewer
			m.settleLocked(r, s, notes[i], held, now)
		}
		sh.mu.Unlock()
	}
}

func (m *Monitor) settleLocked(r *record, s sighted, note string, held bool, now time.Duration) {
	limits := m.limits(r)
	state, next := r.silence(limits, s, now)
	if state != Stale && state != Dead || state == Dead && held {
		return
	}
	if m.succeededLocked(r, now) {
		return
	}
	m.turnLocked(r, state, now, limits, note)
	if r.due = next; r.flapping {
		r.due = min(next, r.calmAt())
	}
}
