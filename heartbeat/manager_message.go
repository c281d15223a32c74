package heartbeat

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"time"
)

// The words that a status has for how a service is doing.
const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusStuck    = "stuck"
	statusDraining = "draining"
	statusStopped  = "stopped"
)

// headWire is the part that status, metrics and alerts have in common with a beat.
type headWire struct {
	Service  string `json:"service_name"`
	Instance string `json:"instance_id"`
	Time     string `json:"timestamp"`
}

type statusWire struct {
	headWire
	Status   string            `json:"status"`
	Uptime   float64           `json:"uptime_seconds"`
	Problems map[string]string `json:"problems,omitempty"` // why the status is not healthy, by what has the problem
	Alerts   []Alert           `json:"alerts,omitempty"`   // that are raised now
	Ours     senderWire        `json:"upbeat"`
}

type metricsWire struct {
	headWire
	Uptime     float64 `json:"uptime_seconds"`
	Count      uint64  `json:"heartbeat_count"`
	Published  uint64  `json:"heartbeats_published"`
	Failed     uint64  `json:"heartbeats_failed"`
	MemoryMB   float64 `json:"memory_usage_mb"`
	CPUPercent float64 `json:"cpu_usage_percent"`
	Goroutines int     `json:"goroutines"`

	Metrics map[string]json.RawMessage `json:"metrics,omitempty"` // the service's own fields
	Ours    senderWire                 `json:"upbeat"`
}

type alertWire struct {
	headWire
	Alert
	State string     `json:"state"` // raised or cleared
	Ours  senderWire `json:"upbeat"`
}

func (m *Manager) head() headWire {
	return headWire{m.pub.service, m.pub.cfg.Instance, time.Now().UTC().Format(timeLayout)}
}

// ours returns the reserved object of a message.
func (m *Manager) ours() senderWire {
	return senderWire{
		upbeatWire: upbeatWire{Version: wireVersion, Phase: m.pub.phase(), Run: m.pub.run},
		Host:       m.pub.host, Stuck: allSeconds(m.pub.loops.stuck()),
	}
}

func (m *Manager) status() ([]byte, error) {
	problems := m.problems()
	status := statusHealthy
	switch phase := m.pub.phase(); {
	case phase == PhaseDraining, phase == PhaseStopped:
		status = statusDraining
	case phase == PhaseStuck:
		status = statusStuck
	case len(problems) > 0:
		status = statusDegraded
	}
	return m.encodeStatus(status, problems)
}

// lastStatus is the one that stays behind when the service has stopped.
func (m *Manager) lastStatus() ([]byte, error) {
	return m.encodeStatus(statusStopped, nil)
}

func (m *Manager) encodeStatus(status string, problems map[string]string) ([]byte, error) {
	ours := m.ours()
	if status == statusStopped {
		ours.Phase, ours.Stuck = PhaseStopped, nil
	}
	return encode(statusWire{
		headWire: m.head(), Status: status, Uptime: wireSeconds(time.Since(m.pub.born)),
		Problems: problems, Alerts: m.alerts.snapshot(), Ours: ours,
	})
}

// problems returns what keeps the service from being healthy. Checks of readiness are asked by probes, and here only
// quoted, so that a status waits for nobody.
func (m *Manager) problems() map[string]string {
	all := m.successes.overdue()
	maps.Copy(all, m.checks.newest())
	for _, c := range m.pub.loops.checks() {
		if c.err != nil {
			all[c.name] = c.err
		}
	}
	problems := map[string]string{}
	for name, err := range all {
		problems[name] = oneLine(err.Error(), maxReason)
	}
	maps.Copy(problems, m.pub.Stats().CollectorErrors)
	for _, alert := range m.alerts.snapshot() {
		problems[alert.Name] = oneLine("alert: "+alert.Message, maxReason)
	}
	return problems
}

// metrics returns what the newest beat says in numbers, and more.
func (m *Manager) metrics() ([]byte, error) {
	w := metricsWire{
		headWire: m.head(), Uptime: wireSeconds(time.Since(m.pub.born)),
		Goroutines: runtime.NumGoroutine(), Ours: m.ours(),
	}
	stats := m.pub.Stats()
	w.Count, w.Published, w.Failed = stats.Count, stats.Published, stats.Failed
	if b := m.pub.tally.newest(); b != nil {
		w.MemoryMB, w.CPUPercent = b.MemoryMB, b.CPUPercent
		w.Ours.Container, w.Ours.Ages = b.Container, allSeconds(b.Ages)
		w.Metrics = maps.Collect(b.Fields())
	}
	return encode(w)
}

func encode(v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	return payload, nil
}
