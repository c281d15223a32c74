package heartbeat

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// keep keeps a refused registration for Run to return.
func (m *Manager) keep(err error) {
	if err == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bad = append(m.bad, err)
}

// Collect adds a field of the service's own to beats and metrics; see [Publisher.Collect].
func (m *Manager) Collect(name string, collect func(ctx context.Context) (any, error)) {
	m.keep(m.pub.Collect(name, collect))
}

// CollectEvery is Collect for what takes long to find out; see [Publisher.CollectEvery].
func (m *Manager) CollectEvery(name string, every time.Duration, collect func(ctx context.Context) (any, error)) {
	m.keep(m.pub.CollectEvery(name, every, collect))
}

// Gauge adds a field with a number. read must not block for long; see [Publisher.Collect].
func (m *Manager) Gauge(name string, read func() float64) {
	if read == nil {
		m.Collect(name, nil)
		return
	}
	m.Collect(name, func(context.Context) (any, error) { return read(), nil })
}

// QueueSize adds the field queue_size: how much work is waiting.
func (m *Manager) QueueSize(size func() int) { m.count("queue_size", size) }

// CacheSize adds the field cache_size: how many entries a cache holds.
func (m *Manager) CacheSize(size func() int) { m.count("cache_size", size) }

// PendingRequests adds the field pending_requests: how many requests have no answer yet.
func (m *Manager) PendingRequests(pending func() int) { m.count("pending_requests", pending) }

func (m *Manager) count(name string, count func() int) {
	if count == nil {
		m.Collect(name, nil)
		return
	}
	m.Collect(name, func(context.Context) (any, error) { return count(), nil })
}

// APIStatus adds the field api_status: how an API that the service depends on answers, such as "authenticated".
func (m *Manager) APIStatus(check func(ctx context.Context) (string, error)) {
	if check == nil {
		m.Collect("api_status", nil)
		return
	}
	m.Collect("api_status", func(ctx context.Context) (any, error) { return check(ctx) })
}

// LastSuccess adds the field last_successful_operation, the time when done was last called, null before that. When it
// was not called for longer than limit, 100ms to 24h, the status is "degraded". Call done after each success; it
// doesn't block.
func (m *Manager) LastSuccess(limit time.Duration) (done func()) {
	const name = "last_successful_operation"
	s, err := m.successes.add(name, limit)
	m.keep(err)
	m.Collect(name, func(context.Context) (any, error) {
		if last := s.last.Load(); last != nil {
			return last.UTC().Format(timeLayout), nil
		}
		return nil, nil
	})
	return func() {
		now := time.Now()
		s.last.Store(&now)
	}
}

// Progress registers a loop of the service's work. While it has not been marked for longer than limit, 100ms to 24h, it
// is stuck: beats, status, LivezHandler and systemd say so. A loop that was refused can be marked all the same.
func (m *Manager) Progress(name string, limit time.Duration) *Loop {
	loop, err := m.pub.loops.add(name, limit)
	m.keep(err)
	return loop
}

// ReadyWhen makes readiness depend on a check, which is called whenever somebody asks, at most once at a time, and has
// at most Config.CollectTimeout to return nil. A Redis that beats go to should not be among the checks: a service is no
// less ready when its observers can't see it.
func (m *Manager) ReadyWhen(name string, check func(ctx context.Context) error) {
	m.keep(m.checks.add(name, check))
}

// successes are what is to be done every so often. Safe for concurrent use.
type successes struct {
	mu  sync.Mutex
	all []*success // guarded by mu
}

type success struct {
	name  string
	limit time.Duration
	born  time.Time
	last  atomic.Pointer[time.Time]
}

func (ss *successes) add(name string, limit time.Duration) (*success, error) {
	s := &success{name: name, limit: limit, born: time.Now()}
	if limit < minLimit || limit > maxInterval {
		return s, fmt.Errorf("heartbeat: limit of %s is %v: want %v to %v", name, limit, minLimit, maxInterval)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.all = append(ss.all, s)
	return s, nil
}

// overdue returns what has not been done for too long, and says for how long.
func (ss *successes) overdue() map[string]error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	overdue := map[string]error{}
	for _, s := range ss.all {
		since := s.born
		if last := s.last.Load(); last != nil {
			since = *last
		}
		if ago := time.Since(since); ago > s.limit {
			overdue[s.name] = fmt.Errorf("none for %v: its limit is %v", ago.Round(time.Millisecond), s.limit)
		}
	}
	return overdue
}
