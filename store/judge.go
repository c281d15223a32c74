package store

import "fmt"

// The severities that this package gives.
const (
	SeverityWarning  = "warning"
	SeverityCritical = "critical"
)

// Where the rules of [Judge] draw their lines. A figure on a line is still good.
const (
	WarningErrorRate    = 0.01
	CriticalErrorRate   = 0.05
	WarningUtilisation  = 0.80
	CriticalUtilisation = 0.90
	MinBacklogRate      = 20.0 // messages per second, while there is a backlog
)

// Judge applies the rules for what deserves an alert, and returns each that is broken, once, with its worst severity: a
// consumer that is down, its error rate, its speed while there is a backlog, the use of the pool. Nil figures, and figures
// that are no numbers, break no rule. Each result can be raised under its Name with RaiseAlert; its Fingerprint is empty.
func Judge(consumer *ConsumerFigures, pool *PoolFigures) []AlertChange {
	found := []AlertChange{}
	add := func(name, severity, format string, args ...any) {
		if severity != "" {
			found = append(found, AlertChange{Name: name, Severity: severity, Message: fmt.Sprintf(format, args...)})
		}
	}
	if consumer != nil {
		add("consumer_down", consumer.down(), "the consumer is not running")
		add("error_rate", above(consumer.ErrorRate, WarningErrorRate, CriticalErrorRate), "%.2f %% of the messages failed", 100*consumer.ErrorRate)
		add("slow_consumer", consumer.slow(), "%.1f messages/s while %d wait", consumer.Rate, consumer.Lag)
	}
	if pool != nil {
		add("pool_utilisation", above(pool.Utilisation, WarningUtilisation, CriticalUtilisation), "%.0f %% of the connections are in use", 100*pool.Utilisation)
	}
	return found
}

func above(figure, warning, critical float64) string {
	switch {
	case figure > critical:
		return SeverityCritical
	case figure > warning:
		return SeverityWarning
	}
	return ""
}

func (f *ConsumerFigures) down() string {
	if f.Running {
		return ""
	}
	return SeverityCritical
}

// slow says nothing of a consumer that is down: that is another finding.
func (f *ConsumerFigures) slow() string {
	if f.Running && f.Lag > 0 && f.Rate < MinBacklogRate {
		return SeverityWarning
	}
	return ""
}
