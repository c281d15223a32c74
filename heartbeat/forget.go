package heartbeat

import (
	"cmp"
	"slices"
	"time"
)

// forget drops the instances that have been gone for longer than MonitorConfig.Forget.
func (m *Monitor) forget(now time.Duration) {
	if m.cfg.Forget < 0 {
		return
	}
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		for _, r := range sh.find {
			if gone := m.goneAtLocked(r, now); gone != never && now-gone >= m.cfg.Forget {
				m.removeLocked(sh, r)
			}
		}
		sh.mu.Unlock()
	}
}

// makeRoom drops those that have been gone for longest, a hundredth of all that may be held, and says whether
// there is room now. It looks at all instances, and so not more than once in a second.
func (m *Monitor) makeRoom(now time.Duration) bool {
	last := m.reaped.Load()
	if last != 0 && now-time.Duration(last) < time.Second || !m.reaped.CompareAndSwap(last, int64(max(now, 1))) {
		return m.held.Load() <= int64(m.cfg.MaxInstances)
	}
	type gone struct {
		key string
		at  time.Duration
	}
	var all []gone
	m.each(func(_ *shard, r *record) {
		if at := m.goneAtLocked(r, now); at != never {
			all = append(all, gone{r.key, at})
		}
	})
	slices.SortFunc(all, func(a, b gone) int { return cmp.Compare(a.at, b.at) })
	for _, g := range all[:min(len(all), max(m.cfg.MaxInstances/100, 1))] {
		sh := m.shard([]byte(g.key))
		sh.mu.Lock()
		if r := sh.find[g.key]; r != nil && m.goneAtLocked(r, now) != never {
			m.removeLocked(sh, r)
		}
		sh.mu.Unlock()
	}
	return m.held.Load() <= int64(m.cfg.MaxInstances)
}

// goneAtLocked returns since when an instance has been stopped or dead; never when it is neither.
func (m *Monitor) goneAtLocked(r *record, now time.Duration) time.Duration {
	limits, state := m.limits(r), r.state
	if !m.judging.Load() {
		state = r.judge(limits, now)
	}
	switch state {
	case Stopped:
		return r.seen
	case Dead:
		return r.seen + limits.Dead
	default:
		return never
	}
}
