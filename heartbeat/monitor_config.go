package heartbeat

import (
	"errors"
	"log/slog"
	"math"
	"slices"
	"time"
)

// MonitorConfig adjusts a [Monitor]. The zero MonitorConfig is valid.
type MonitorConfig struct {
	// Thresholds are those for a sender that beats every 60 seconds. The zero value means 90s and 180s.
	Thresholds Thresholds

	// Channels are the templates of the channels to listen to, at most 8. Empty means DefaultChannel alone.
	Channels []string

	// RetainKey is the template of the keys that hold the newest beats; it names both {service} and {instance}.
	// Empty means DefaultRetainKey.
	RetainKey string

	// Expect names services that ought to be there: an event says when none of their instances is known.
	Expect []string

	// MassShare is the share of the living instances, and at least five of them, that must be silent at once for
	// their deaths to be held back, up to 1. 0 means 0.5. Negative means that nothing is held back.
	MassShare float64

	// MassHold is for how long at most after the last of them fell silent, 1s to 24h, and no longer than twice that in all. 0 means 5m.
	MassHold time.Duration

	// Flapping is how many changes of an instance within ten of its intervals are told before they are only summed
	// up, 2 to 1000. 0 means 6. Negative means that all are told.
	Flapping int

	// Window is the time over which uptime and figures are summed up, 10m to 8760h (a year). 0 means 24h.
	Window time.Duration

	// Forget is how long an instance that has stopped or died stays in view, 1m to 8760h (a year). 0 means 24h.
	// Negative means until there is no room: a full monitor forgets who has been gone for longest.
	Forget time.Duration

	// MaxInstances bounds the memory: how many instances are held at most. 0 means 1,000,000.
	MaxInstances int

	// MaxBytes bounds the newest beats of all instances together, 4096 to 1<<40 (1<<30 where that is beyond int).
	// Beyond it a beat is kept without its service's own fields, or where there is no room for that, by the figures
	// of its Instance alone. 0 means 1 GiB.
	MaxBytes int

	// EventBuffer is how many events a reader may lag behind, 16 to 1,000,000. 0 means 4096.
	EventBuffer int

	// Logger receives when the monitor is blind or deaths are held back, and the end of it. nil means slog.Default().
	Logger *slog.Logger
}

func (c MonitorConfig) complete() (MonitorConfig, error) {
	var p problems
	c.Thresholds = c.Thresholds.orDefault()
	if t := c.Thresholds; t.Stale <= baseInterval || t.Stale >= t.Dead || t.Dead > 24*time.Hour {
		p.addf("MonitorConfig.Thresholds is %v and %v: want 60s < Stale < Dead <= 24h, or 0 for 90s and 180s", t.Stale, t.Dead)
	}
	c.completePlaces(&p)
	c.MassShare = orDefault(c.MassShare, 0.5)
	if math.IsNaN(c.MassShare) || c.MassShare > 1 {
		p.addf("MonitorConfig.MassShare is %g: want up to 1, 0 for 0.5, or negative for no hold", c.MassShare)
	}
	c.MassHold = within(&p, "MonitorConfig.MassHold", c.MassHold, 5*time.Minute, time.Second, 24*time.Hour, "5m")
	if c.Flapping >= 0 {
		c.Flapping = within(&p, "MonitorConfig.Flapping", c.Flapping, 6, 2, 1000, "6, or negative for never")
	}
	c.Window = within(&p, "MonitorConfig.Window", c.Window, 24*time.Hour, 10*time.Minute, 8760*time.Hour, "24h")
	if c.Forget >= 0 {
		c.Forget = within(&p, "MonitorConfig.Forget", c.Forget, 24*time.Hour, time.Minute, 8760*time.Hour, "24h, or negative for never")
	}
	c.MaxInstances = within(&p, "MonitorConfig.MaxInstances", c.MaxInstances, 1_000_000, 1, 100_000_000, "1000000")
	c.MaxBytes = within(&p, "MonitorConfig.MaxBytes", c.MaxBytes, 1<<30, 4096, min(math.MaxInt, 1<<40), "1 GiB")
	c.EventBuffer = within(&p, "MonitorConfig.EventBuffer", c.EventBuffer, 4096, 16, 1_000_000, "4096")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, errors.Join(p...)
}

func (c *MonitorConfig) completePlaces(p *problems) {
	if len(c.Channels) == 0 {
		c.Channels = []string{DefaultChannel}
	}
	if len(c.Channels) > maxChannels {
		p.addf("MonitorConfig.Channels has %d entries: want at most %d", len(c.Channels), maxChannels)
		c.Channels = c.Channels[:maxChannels]
	}
	c.Channels = slices.Clone(c.Channels)
	for _, template := range c.Channels {
		p.expand("MonitorConfig.Channels", template, "s", "i")
	}
	c.RetainKey = orDefault(c.RetainKey, DefaultRetainKey)
	p.perInstance("MonitorConfig.RetainKey", c.RetainKey)
	p.expand("MonitorConfig.RetainKey", c.RetainKey, "s", "i")
	c.Expect = slices.Compact(slices.Sorted(slices.Values(c.Expect)))
	for _, service := range c.Expect {
		p.name("MonitorConfig.Expect", service)
	}
}
