package heartbeat

import (
	"encoding/json"
	"fmt"
	"time"
)

// hearLocked takes in a beat of an instance that is known.
func (m *Monitor) hearLocked(sh *shard, r *record, c *core, payload []byte, seen, now time.Duration) {
	was := m.limits(r)
	n, missed := r.update(c, seen)
	if n == oldNews {
		sh.old++
		return
	}
	sh.beats++
	m.passLocked(r, was, r.seen)
	r.history.beat(m.ticks(r.seen), missed, c.memory, c.cpu)
	m.keepLocked(sh, r, payload)
	limits := m.limits(r)
	if n == newLife {
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
	r.seen, r.first, r.since, r.calmFrom = seen, seen, now, now
	r.history.Head = floorDiv(m.ticks(seen), ticksOfSlot)
	r.history.Done = m.ticks(seen)
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

// keepLocked keeps a copy of the newest beat, for those who ask for more of it than the verdict needs.
func (m *Monitor) keepLocked(sh *shard, r *record, payload []byte) {
	had := cap(r.payload)
	if len(payload) > had && m.bytes.Load()+int64(len(payload)-had) > int64(m.cfg.MaxBytes) {
		payload = bare(payload)
		sh.trimmed++
	}
	if len(payload) > had || had > 4*len(payload)+512 {
		r.payload = make([]byte, 0, len(payload)+len(payload)/16)
		m.bytes.Add(int64(cap(r.payload) - had))
	}
	r.payload = append(r.payload[:0], payload...)
}

// bare returns a beat without the service's own fields.
func bare(payload []byte) []byte {
	beat, err := ParseBeat(payload)
	if err != nil {
		return nil // not reached: it was read before
	}
	beat.fields, beat.CollectorErrors = nil, nil
	short, err := json.Marshal(beat)
	if err != nil {
		return nil
	}
	return short
}

func (m *Monitor) limits(r *record) Thresholds { return m.cfg.Thresholds.For(r.interval, r.late) }

func (m *Monitor) ticks(t time.Duration) int64 { return floorDiv(int64(t), int64(m.tick)) }

// passLocked accounts for the time up to a moment by which r is known to have been in its state: between two beats
// that is by the later one. A silence that reached the threshold was down from the beat before it.
func (m *Monitor) passLocked(r *record, limits Thresholds, to time.Duration) {
	done := time.Duration(r.history.Done) * m.tick
	up := to-done < limits.Dead && r.state != Dead && r.state != Stuck
	if r.state == Stopped {
		r.history.skip(m.ticks(to))
		return
	}
	blind, ok := m.sight.blindness(done, to)
	if !ok {
		r.history.pass(m.ticks(to), up, true)
		return
	}
	up = to-done-(blind.to-blind.from) < limits.Dead && r.state != Dead && r.state != Stuck
	r.history.pass(m.ticks(blind.from), up, true)
	r.history.pass(m.ticks(blind.to), up, false)
	r.history.pass(m.ticks(to), up, true)
}
