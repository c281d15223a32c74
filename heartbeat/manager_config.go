package heartbeat

import (
	"errors"
	"time"
)

// Channels that a [Manager] publishes to beside those of beats; {service} and {instance} stand for the sender's names.
const (
	DefaultStatusChannel  = "health:service:{service}:status"
	DefaultMetricsChannel = "health:service:{service}:metrics"
	DefaultAlertChannel   = "health:service:{service}:alert"
)

// ManagerConfig adjusts a [Manager]. The zero ManagerConfig is valid: beats every minute, a status every 30 seconds,
// metrics every 5 minutes.
type ManagerConfig struct {
	// Config is that of the beats. Its Stream, Timeout and Logger are those of the other messages, too.
	Config

	// StatusEvery is the time from one status to the next, 1s to 24h. 0 means 30s. Negative means no status.
	StatusEvery time.Duration
	// MetricsEvery is the time from one message of metrics to the next, 1s to 24h. 0 means 5m. Negative means no metrics.
	MetricsEvery time.Duration

	// StatusChannel, MetricsChannel and AlertChannel are the templates of the channels. Empty means the defaults above.
	StatusChannel, MetricsChannel, AlertChannel string

	// StartupGrace is how long after its registration a loop that was not marked yet is not called stuck, up to 24h.
	// 0 means 1m. Negative means none beyond the limit of the loop.
	StartupGrace time.Duration

	// Systemd is who is told READY, WATCHDOG and STOPPING; see [SystemdFromEnv]. The zero Systemd is nobody.
	Systemd Systemd
}

func (c ManagerConfig) complete(service string) (ManagerConfig, error) {
	var p problems
	if c.Instance == "" {
		c.Instance = newUUID() // one for all messages
	}
	pace := func(field string, value *time.Duration, fallback, low time.Duration, zero string) {
		if *value >= 0 {
			*value = within(&p, "ManagerConfig."+field, *value, fallback, low, maxInterval, zero)
		}
	}
	pace("StatusEvery", &c.StatusEvery, 30*time.Second, time.Second, "30s, or negative for none")
	pace("MetricsEvery", &c.MetricsEvery, 5*time.Minute, time.Second, "5m, or negative for none")
	pace("StartupGrace", &c.StartupGrace, time.Minute, 0, "1m, or negative for none")

	channel := func(field string, template *string, fallback string) {
		*template = p.expand("ManagerConfig."+field, orDefault(*template, fallback), service, c.Instance)
	}
	channel("StatusChannel", &c.StatusChannel, DefaultStatusChannel)
	channel("MetricsChannel", &c.MetricsChannel, DefaultMetricsChannel)
	channel("AlertChannel", &c.AlertChannel, DefaultAlertChannel)
	c.Systemd.check(&p, "ManagerConfig.Systemd.Socket", "ManagerConfig.Systemd.Watchdog")
	return c, errors.Join(p...)
}
