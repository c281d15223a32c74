package heartbeat

import (
	"encoding/json"
	"fmt"
	"time"
)

// hearLocked takes in a beat of an instance that is known.
func (m *Monitor) hearLocked(sh *shard, r *record, c *core, payload []byte, seen, now time.Duration) {
	between := m.betweenLocked(r, max(r.seen, seen))
	n, missed := r.update(c, seen)
	if n == oldNews {
		sh.old++
		return
	}
	sh.beats++
	m.pass(&r.history, r.seen, between)
	r.history.beat(m.ticks(r.seen), missed, c.memory, c.cpu)
	m.keepLocked(sh, r, payload)
	limits := m.limits(r)
	if n == newLife {
		r.since = now
	}
	if n == newLife && !m.dampLocked(r, EventRestarted, now) {
		m.tellLocked(r, EventRestarted, fmt.Sprintf("a new life under the same name, up for %v", r.uptime.Round(time.Second)))
	}
	switch state := r.judge(limits, now); state {
	case Stale, Dead: // too old to change the verdict; the next look decides
		r.due = min(r.due, now)
	default:
		m.turnLocked(r, state, now, limits, "")
		r.due = m.dueLocked(r, limits, now)
	}
}

// dueLocked returns when an instance that was just heard has to be looked at again.
func (m *Monitor) dueLocked(r *record, limits Thresholds, now time.Duration) time.Duration {
	due := never
	if r.state != Stopped {
		due = r.seen + limits.Stale
	}
	if r.flapping {
		due = min(due, r.calmAt())
	}
	return max(due, now)
}

// admit makes room for a new instance and takes in its first beat.
func (m *Monitor) admit(key []byte, c *core, payload []byte, seen, now time.Duration) error {
	sh := m.shard(key)
	if m.held.Add(1) > int64(m.cfg.MaxInstances) && !m.makeRoom(now) {
		m.held.Add(-1)
		sh.mu.Lock()
		sh.refused++
		sh.mu.Unlock()
		return ErrMonitorFull
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.find[string(key)]; r != nil { // another was faster
		m.held.Add(-1)
		m.hearLocked(sh, r, c, payload, seen, now)
		return nil
	}
	r := m.addLocked(sh, string(key), string(c.service))
	r.take(c)
	r.seen, r.since, r.calmFrom = seen, now, now
	r.history.done = m.ticks(seen)
	r.history.beat(m.ticks(seen), 0, c.memory, c.cpu)
	m.keepLocked(sh, r, payload)
	sh.beats++
	limits := m.limits(r)
	if state := r.judge(limits, now); state != Stale && state != Dead {
		m.turnLocked(r, state, now, limits, "")
		if len(c.host) > 0 {
			m.newcomers.came(r.service(), string(c.host), r.instance(), seen-c.uptime, m.cfg.MaxInstances)
		}
	}
	r.due = m.dueLocked(r, limits, now)
	m.roster.came(r.service())
	return nil
}

func (m *Monitor) addLocked(sh *shard, key, service string) *record {
	g := sh.groups[service]
	if g == nil {
		g = &group{service: key[:len(service)]}
		sh.groups[g.service] = g
	}
	r := &record{key: key, group: g, at: int32(len(g.records))}
	g.records = append(g.records, r)
	sh.find[key] = r
	return r
}

func (m *Monitor) removeLocked(sh *shard, r *record) {
	g := r.group
	last := g.records[len(g.records)-1]
	g.records[r.at], last.at = last, r.at
	g.records[len(g.records)-1] = nil
	if g.records = g.records[:len(g.records)-1]; len(g.records) == 0 {
		delete(sh.groups, g.service)
	}
	delete(sh.find, r.key)
	sh.forgotten++
	m.held.Add(-1)
	m.bytes.Add(-int64(cap(r.payload)))
	m.roster.left(g.service)
}

// keepLocked keeps a copy of the newest beat, for those who ask for more of it than the verdict needs: the whole, or
// what is not the service's own, or nothing, as there is room.
func (m *Monitor) keepLocked(sh *shard, r *record, payload []byte) {
	if !m.fitLocked(r, len(payload)) {
		sh.trimmed++
		if payload = bare(payload); !m.fitLocked(r, len(payload)) {
			payload = nil
		}
	}
	r.payload = append(r.payload[:0], payload...)
}

// fitLocked makes the place for a beat as large as that needs, and not much larger, and says whether there is room.
func (m *Monitor) fitLocked(r *record, need int) bool {
	had := cap(r.payload)
	if need <= had && had <= 4*need+512 {
		return true
	}
	size := need + need/16
	for {
		bytes := m.bytes.Load()
		after := bytes + int64(size-had)
		if size > had && after > int64(m.cfg.MaxBytes) {
			return false
		}
		if m.bytes.CompareAndSwap(bytes, after) {
			r.payload = make([]byte, 0, size)
			return true
		}
	}
}

// bare returns a beat without the service's own fields.
func bare(payload []byte) []byte {
	beat, err := ParseBeat(payload)
	if err != nil {
		return nil // not reached: it was read before
	}
	beat.fields, beat.CollectorErrors, beat.Ages = nil, nil, nil
	short, err := json.Marshal(beat)
	if err != nil {
		return nil
	}
	return short
}

func (m *Monitor) limits(r *record) Thresholds { return m.cfg.Thresholds.For(r.interval, r.late) }

// betweenLocked returns what the time from the newest beat of r to its next one, at a given time, counts as. A silence
// that reached the threshold was down as a whole, told or not.
func (m *Monitor) betweenLocked(r *record, next time.Duration) account {
	quiet := next - r.seen
	for _, deaf := range m.sight.blind(r.seen, next) {
		quiet -= deaf.to - deaf.from
	}
	switch {
	case r.state == Stopped:
		return unsaid
	case r.state == Dead:
		return asDown
	case !r.heard: // the time before the monitor was restored is in this silence
		return asUnknown
	case r.by() == Stuck || quiet >= m.limits(r).Dead:
		return asDown
	default:
		return asUp
	}
}

// pass accounts for the time up to a moment; what of it the monitor could not hear is unknown.
func (m *Monitor) pass(h *history, to time.Duration, as account) {
	if as != unsaid {
		for _, deaf := range m.sight.blind(m.time(h.done), to) {
			h.pass(m.ticks(deaf.from), as)
			h.pass(m.ticks(deaf.to), asUnknown)
		}
	}
	h.pass(m.ticks(to), as)
}

func (m *Monitor) ticks(t time.Duration) int64 {
	return floorDiv(int64(t)-m.zero.Load(), int64(m.tick))
}

// time is the converse of ticks.
func (m *Monitor) time(tick int64) time.Duration {
	return time.Duration(m.zero.Load()) + time.Duration(tick)*m.tick
}
