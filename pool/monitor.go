package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// longestInterval is between checks of a server that is well, unless HealthCheckInterval is shorter.
	longestInterval = 5 * time.Second
	// tick is between checks of one that isn't, and between looks at the pool.
	tick = time.Second
)

// Run watches Redis and the connections until ctx or Clients end, and then returns nil: every 5 seconds, or the
// profile's HealthCheckInterval if that is shorter, and every second while something is wrong. [Clients.Health] says what it found.
//
// It logs, once each: what it watches; when Redis is degraded or down, and why; when it is well again, and after how long; when all connections are in
// use and how many commands wait; when the server's role changed. After such a change it has all connections replaced
// before their next use, as the name may lead elsewhere by now. It closes idle connections that the other side has ended.
//
// It uses one connection per master, outside the profile's number. One Run at a time: another returns an error at once. When it returns,
// 3 seconds after the end of ctx at the latest, nothing of it is left. Nothing depends on it: all clients recover without.
func (c *Clients) Run(ctx context.Context) error {
	m := c.monitor
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("pool: Run is running already")
	}
	defer m.rest()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)() //nolint:contextcheck // it ends with Clients, too

	interval := longestInterval
	if own := c.cfg.Profile.HealthCheckInterval; own > 0 {
		interval = min(interval, own)
	}
	m.interval.Store(int64(interval))
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	diary := newDiary(c.cfg.Logger, interval, c.Stats())
	for due := time.Now(); ; {
		if now := time.Now(); !now.Before(due) {
			r := m.check(ctx)
			if ctx.Err() != nil {
				return nil
			}
			due = now.Add(interval - tick/2) // ticks are not exact
			if diary.note(ctx, time.Now(), c.healthOf(r)) != StatusOK {
				due = now
			}
			c.sockets.reap()
		}
		diary.notePool(ctx, time.Now(), c.Stats())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// monitor asks the nodes, for Run and for whoever wants to know while it doesn't run. One check serves all who wait for it.
type monitor struct {
	c        *Clients
	life     context.Context // ends with close
	end      context.CancelFunc
	running  atomic.Bool
	interval atomic.Int64 // of Run, a time.Duration

	mu     sync.Mutex // guards what follows
	flight *flight    // nil while no check is under way
	last   *report

	// What follows belongs to the check that is under way, or to the mutex while none is.
	probes  map[string]*probe
	role    string // of the server; "" in a Cluster
	home    string // the address where Sentinel leads to
	demoted bool
}

type flight struct {
	done   chan struct{}
	report *report // written before done is closed
}

func newMonitor(c *Clients) *monitor {
	m := &monitor{c: c, probes: make(map[string]*probe)}
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

// recent is the last report if it is recent, else that of a check.
func (m *monitor) recent(ctx context.Context) *report {
	age := tick
	if m.running.Load() {
		age = 3 * time.Duration(m.interval.Load())
	}
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	if last != nil && time.Since(last.at) < age && m.life.Err() == nil {
		return last
	}
	return m.check(ctx)
}

// check returns the report of the check that is under way, or of a new one. It doesn't wait for longer than healthLimit: go-redis may
// hold a lock for longer while it looks for Sentinels.
func (m *monitor) check(ctx context.Context) *report {
	m.mu.Lock()
	if m.life.Err() != nil {
		m.mu.Unlock()
		return &report{at: time.Now(), failure: "the clients are closed"}
	}
	f := m.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		m.flight = f
		go m.fly(f)
	}
	last := m.last
	m.mu.Unlock()
	limit := time.NewTimer(healthLimit)
	defer limit.Stop()
	select {
	case <-f.done:
		return f.report
	case <-limit.C:
	case <-ctx.Done():
		if last != nil {
			return last
		}
	}
	return &report{at: time.Now(), failure: m.c.cfg.where() + ": no answer in time"}
}

func (m *monitor) fly(f *flight) {
	f.report = m.sweep(m.life)
	if !m.running.Load() {
		closeProbes(m.probes)
	}
	m.mu.Lock()
	m.flight, m.last = nil, f.report
	m.mu.Unlock()
	close(f.done)
}

func closeProbes(probes map[string]*probe) {
	for _, p := range probes {
		p.close()
	}
}

// rest is the end of Run.
func (m *monitor) rest() {
	m.running.Store(false)
	m.hangUp()
}

// hangUp leaves neither a check nor a connection behind. A check that begins meanwhile cleans up after itself, unless Run runs.
func (m *monitor) hangUp() {
	m.mu.Lock()
	under := m.flight
	m.mu.Unlock()
	if under != nil {
		<-under.done
	}
	m.mu.Lock()
	var probes map[string]*probe
	if m.flight == nil {
		probes, m.probes = m.probes, make(map[string]*probe)
	}
	m.mu.Unlock()
	closeProbes(probes)
}

// close ends Run and the check that is under way; hangUp waits for the latter.
func (m *monitor) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end()
}
