package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Manager tells Redis how a service is doing: beats as a [Publisher] sends them, and beside them a status, metrics and
// alerts. It knows which loops of the service make progress, and says the same of them in the beat, to systemd, and to
// who asks its handlers. It is what other systems call a ServiceHeartbeatManager. All methods are safe for
// concurrent use.
//
// A registration that is refused (by Collect, QueueSize, Progress and the like) is kept, and returned by Run.
type Manager struct {
	cfg ManagerConfig
	pub *Publisher

	checks    checks    // what readiness depends on
	successes successes // what is to succeed every so often

	mu    sync.Mutex
	bad   []error      // registrations that were refused; guarded by mu
	stats ManagerStats // guarded by mu; the rest is filled in by Stats

	courier courier // its own: Publisher.Run waits for its courier when others may still send here
	alerts  alerts
	running atomic.Bool
	changed chan struct{} // holds a token when the loops got stuck or free since the last beat
}

// ManagerStats is what a [Manager] has done so far.
type ManagerStats struct {
	Heartbeats PublisherStats `json:"heartbeats"`
	// Sent counts messages of status, metrics and alerts that Redis has confirmed, Failed those that it has not.
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"`
	// LastError is that of the newest failure, in one printable line.
	LastError string `json:"last_error,omitempty"`
	Alerts    int    `json:"alerts"` // raised and not cleared
	// Stuck has the loops that make no progress, and for how many seconds.
	Stuck map[string]float64 `json:"stuck_seconds,omitempty"`
}

// NewManager returns a manager for one instance of a service, or all that is wrong with its arguments. It talks to
// nobody and starts nothing; rdb stays the caller's to close, after Run has returned.
func NewManager(rdb redis.UniversalClient, service string, cfg ManagerConfig) (*Manager, error) {
	cfg, err := cfg.complete(service)
	pub, pubErr := NewPublisher(rdb, service, cfg.Config)
	if err = errors.Join(pubErr, err); err != nil {
		return nil, err
	}
	pub.loops.grace = cfg.StartupGrace
	return &Manager{
		cfg: cfg, pub: pub,
		checks:  checks{timeout: pub.cfg.CollectTimeout, turn: make(chan struct{}, 1), failed: map[string]error{}},
		courier: courier{publish: pub.courier.publish, out: make(chan struct{}, maxTrips)},
		changed: make(chan struct{}, 1),
	}, nil
}

// Instance returns the name of this instance: Config.Instance, or the UUID made in its place.
func (m *Manager) Instance() string { return m.pub.Instance() }

// Beat sends a beat now; see [Publisher.Beat].
func (m *Manager) Beat(ctx context.Context) error { return m.pub.Beat(ctx) }

// Drain makes beats and status say that the instance takes no new work, and makes it not ready. It doesn't block.
func (m *Manager) Drain() { m.pub.Drain() }

// Stats returns what has happened so far. It does not wait for what is under way.
func (m *Manager) Stats() ManagerStats {
	m.mu.Lock()
	stats := m.stats
	m.mu.Unlock()
	stats.Heartbeats = m.pub.Stats()
	stats.Alerts = len(m.alerts.snapshot())
	stats.Stuck = allSeconds(m.pub.loops.stuck())
	return stats
}

// Run sends beats as [Publisher.Run] does, the status and the metrics at their own pace, and a beat at once when a loop
// gets stuck or free. It tells systemd when the service is ready, that it is alive while no loop is stuck, and that it
// stops. It blocks until ctx has ended and the goodbye was sent, and returns what Publisher.Run does. Registrations
// that were refused before are returned at once.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	bad := errors.Join(m.bad...)
	m.mu.Unlock()
	if bad != nil {
		return bad
	}
	if m.running.Swap(true) {
		return errors.New("heartbeat: Run was called before: make a new Manager")
	}
	var wg sync.WaitGroup
	wg.Go(func() { m.report(ctx) })
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { m.watch(ctx, watching) })
	err := m.pub.Run(ctx)
	stop() // systemd is told until the end that the process lives
	wg.Wait()
	if n := len(m.courier.out); n > 0 {
		err = errors.Join(err, fmt.Errorf("heartbeat: still running after the end: %d calls of the Redis client for status, metrics or alerts", n))
	}
	return err
}

// report sends status and metrics until ctx ends, and then a last status.
func (m *Manager) report(ctx context.Context) {
	log := episodes{log: m.pub.episodes.log, what: "status and metrics"}
	status, stopStatus := every(m.cfg.StatusEvery)
	defer stopStatus()
	metrics, stopMetrics := every(m.cfg.MetricsEvery)
	defer stopMetrics()
	send := func(ctx context.Context, compose func() ([]byte, error), channel string, pace time.Duration) {
		if pace > 0 {
			log.beat(ctx, m.send(ctx, channel, compose))
		}
	}
	send(ctx, m.status, m.cfg.StatusChannel, m.cfg.StatusEvery)
	for ctx.Err() == nil {
		select {
		case <-m.changed:
			_ = m.pub.Beat(ctx) // counted and logged there
			send(ctx, m.status, m.cfg.StatusChannel, m.cfg.StatusEvery)
		case <-status:
			send(ctx, m.status, m.cfg.StatusChannel, m.cfg.StatusEvery)
		case <-metrics:
			send(ctx, m.metrics, m.cfg.MetricsChannel, m.cfg.MetricsEvery)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.pub.cfg.DrainTimeout)
	defer cancel()
	send(last, m.lastStatus, m.cfg.StatusChannel, m.cfg.StatusEvery)
}

// every returns a ticker's channel; one that never ticks for a negative pace.
func every(pace time.Duration) (ticks <-chan time.Time, stop func()) {
	if pace < 0 {
		return nil, func() {}
	}
	t := time.NewTicker(pace)
	return t.C, t.Stop
}

// send brings one message to a channel, and to the stream when there is one.
func (m *Manager) send(ctx context.Context, channel string, compose func() ([]byte, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.pub.cfg.Timeout, fmt.Errorf("heartbeat: no answer within %s", m.pub.cfg.Timeout))
	defer cancel()
	payload, err := compose()
	if err == nil {
		err = m.courier.deliver(ctx, message{channels: []string{channel}, payload: payload})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.stats.Sent++
		return nil
	}
	m.stats.Failed++
	m.stats.LastError = oneLine(err.Error(), 2*maxNameBytes)
	return err
}
