package heartbeat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxAlerts     = 64
	maxAlertBytes = 1024
)

// Severity is how bad an alert is.
type Severity string

// The severities of an alert.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// Alert is something that people should know of, until it is cleared.
type Alert struct {
	// Name tells this alert from others of the same instance; see [ValidateName] for what it may be.
	Name string `json:"alert"`
	// Severity is one of the constants above. Empty means SeverityWarning.
	Severity Severity `json:"severity"`
	// Message is for people: up to 1024 printable bytes in one line, the rest is cut off.
	Message string `json:"message"`
	// RaisedAt is when the alert was raised; the time of the call when it is zero. Raising it again keeps the first.
	RaisedAt time.Time `json:"raised_at"`
}

// Alert raises an alert, or changes the severity and the message of one that is raised already. It blocks until
// Redis has confirmed the message, at most Config.Timeout. An error says that it can't be known to have arrived; the
// alert is raised all the same, and every status names it until ClearAlert. At most 64 can be raised at once. It works before
// Run and after it, too: what keeps a process from starting, or from ending cleanly, is worth an alert.
func (m *Manager) Alert(ctx context.Context, a Alert) error {
	a, err := m.alerts.raise(a)
	if err != nil {
		return err
	}
	return m.sendAlert(ctx, a, "raised")
}

// ClearAlert ends an alert. It blocks as Alert does, and sends nothing when no alert of that name is raised. An error
// says that the message can't be known to have arrived; the next status does without the alert in any case.
func (m *Manager) ClearAlert(ctx context.Context, name string) error {
	a, found := m.alerts.clear(name)
	if !found {
		return nil
	}
	return m.sendAlert(ctx, a, "cleared")
}

func (m *Manager) sendAlert(ctx context.Context, a Alert, state string) error {
	return m.send(ctx, m.cfg.AlertChannel, func() ([]byte, error) {
		return encode(alertWire{headWire: m.head(), Alert: a, State: state, Ours: m.ours()})
	})
}

// alerts are those that are raised. Safe for concurrent use.
type alerts struct {
	mu  sync.Mutex
	all []Alert // sorted by name; guarded by mu
}

func byAlertName(a Alert, name string) int { return strings.Compare(a.Name, name) }

func (as *alerts) raise(a Alert) (Alert, error) {
	a.Severity = orDefault(a.Severity, SeverityWarning)
	if err := ValidateName(a.Name); err != nil {
		return a, fmt.Errorf("heartbeat: alert name can't be used: %w", err)
	}
	if a.Severity != SeverityInfo && a.Severity != SeverityWarning && a.Severity != SeverityCritical {
		return a, fmt.Errorf("heartbeat: severity of alert %q is %q: want info, warning or critical", a.Name, string(a.Severity))
	}
	a.Message = oneLine(a.Message, maxAlertBytes)
	if a.RaisedAt.IsZero() {
		a.RaisedAt = time.Now()
	}
	if err := checkYear(a.RaisedAt); err != nil {
		return a, fmt.Errorf("heartbeat: alert %q: %w", a.Name, err)
	}
	a.RaisedAt = a.RaisedAt.UTC().Truncate(time.Microsecond)

	as.mu.Lock()
	defer as.mu.Unlock()
	at, found := slices.BinarySearchFunc(as.all, a.Name, byAlertName)
	switch {
	case found:
		a.RaisedAt = as.all[at].RaisedAt
		as.all[at] = a
	case len(as.all) >= maxAlerts:
		return a, fmt.Errorf("heartbeat: alert %q is one too many: %d are raised", a.Name, maxAlerts)
	default:
		as.all = slices.Insert(as.all, at, a)
	}
	return a, nil
}

func (as *alerts) clear(name string) (Alert, bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	at, found := slices.BinarySearchFunc(as.all, name, byAlertName)
	if !found {
		return Alert{}, false
	}
	a := as.all[at]
	as.all = slices.Delete(as.all, at, at+1)
	return a, true
}

func (as *alerts) snapshot() []Alert {
	as.mu.Lock()
	defer as.mu.Unlock()
	return slices.Clone(as.all)
}
