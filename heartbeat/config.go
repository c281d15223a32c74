package heartbeat

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"
)

// Channels that a beat may be published to; {service} and {instance} stand for the sender's names.
const (
	// DefaultChannel is where beats go unless Config.Channels says otherwise.
	DefaultChannel = "health:service:{service}:heartbeat"
	// ShortChannel is the other name in use for the same messages. List both in Config.Channels to serve
	// readers of either.
	ShortChannel = "heartbeat:service:{service}"
	// DefaultRetainKey is where the newest beat of an instance is kept unless Config.RetainKey says otherwise.
	DefaultRetainKey = "health:last:{service}:{instance}"
)

const (
	baseInterval  = 60 * time.Second
	minInterval   = 100 * time.Millisecond
	maxInterval   = 24 * time.Hour
	maxChannels   = 8
	maxStreamLen  = 1_000_000_000
	maxFields     = 128
	maxFieldBytes = 32 << 10
)

// Config adjusts a [Publisher]. The zero Config is valid: a beat every 60 seconds on [DefaultChannel], the newest
// one retained.
type Config struct {
	// Interval is the time from one beat to the next, 100ms to 24h. 0 means 60s.
	Interval time.Duration

	// Jitter is the share of Interval, up to 0.5, by which each wait may be shortened at random, so that a fleet
	// started together does not beat together. A wait is never longer than Interval. 0 means 0.1; negative means
	// none, and then the second beat follows the first by exactly Interval too.
	Jitter float64

	// Instance names this process among those of its service; see [ValidateName] for what a name may be.
	// Empty means a random UUID, new for every Publisher.
	Instance string

	// Channels are the templates of the channels that each beat is published to, at most 8. Empty means
	// DefaultChannel alone.
	Channels []string

	// RetainKey is the template of the key that holds the newest beat; it names both {service} and {instance}.
	// Empty means DefaultRetainKey.
	RetainKey string

	// Retain is how long that key outlives the beat in it, rounded up to whole seconds; it is at least four
	// intervals. 0 means ten intervals and at least a minute. Negative means that no beat is retained.
	Retain time.Duration

	// Stream, when not empty, is the key of a stream that each beat is added to as well, with the fields channel
	// and payload.
	Stream string

	// StreamMaxLen caps that stream: Redis drops its oldest entries, read or not, beyond about this many, up to
	// 1,000,000,000. 0 means 1,000,000. Negative means no cap.
	StreamMaxLen int64

	// Timeout bounds one beat, collectors and trip to Redis together, 10ms to half of Interval. 0 means half of
	// Interval and at most 10s.
	Timeout time.Duration

	// CollectTimeout bounds each collector within a beat, 1ms to half of Timeout. 0 means half of Timeout and at most
	// 1s.
	CollectTimeout time.Duration

	// NoUsage leaves memory_usage_mb and cpu_usage_percent at 0 and the figures of the container out: asking the
	// operating system costs more than all the rest of a beat.
	NoUsage bool

	// MaxFields is how many collectors may be registered, 1 to 128. 0 means 64.
	MaxFields int

	// MaxBytes bounds the collected values of one beat together, as encoded, 64 to 32768. What doesn't fit is left
	// out, the largest first, and named among the collector errors. 0 means 16384.
	MaxBytes int

	// DrainTimeout bounds what Run does after its context has ended: to say goodbye and to wait for collectors,
	// 10ms to 1h. 0 means 5s.
	DrainTimeout time.Duration

	// Logger receives the start, and the begin and the end of every episode of failure. nil means slog.Default().
	Logger *slog.Logger
}

// complete returns a copy of c without defaults left to fill in and with templates expanded, and all that is
// wrong with it.
func (c Config) complete(service string) (Config, error) {
	var p problems
	p.name("service", service)
	if c.Instance == "" {
		c.Instance = newUUID()
	}
	p.name("Config.Instance", c.Instance)
	c.completeTimes(&p)
	c.completeTargets(&p, service)

	c.MaxFields = within(&p, "Config.MaxFields", c.MaxFields, 64, 1, maxFields, "64")
	c.MaxBytes = within(&p, "Config.MaxBytes", c.MaxBytes, 16<<10, 64, maxFieldBytes, "16384")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, errors.Join(p...)
}

func (c *Config) completeTimes(p *problems) {
	c.Interval = within(p, "Config.Interval", c.Interval, baseInterval, minInterval, maxInterval, "60s")

	switch {
	case c.Jitter < 0:
		c.Jitter = 0
	case c.Jitter == 0:
		c.Jitter = 0.1
	case math.IsNaN(c.Jitter) || c.Jitter > 0.5:
		p.addf("Config.Jitter is %g: want up to 0.5, 0 for 0.1, or negative for none", c.Jitter)
	}

	// Half an interval is also the shortest wait that Jitter leaves, so one beat always ends before the next.
	c.Timeout = within(p, "Config.Timeout", c.Timeout, min(c.Interval/2, 10*time.Second), 10*time.Millisecond, c.Interval/2, "half of Interval and at most 10s")
	c.CollectTimeout = within(p, "Config.CollectTimeout", c.CollectTimeout, min(c.Timeout/2, time.Second), time.Millisecond, c.Timeout/2, "half of Timeout and at most 1s")
	c.DrainTimeout = within(p, "Config.DrainTimeout", c.DrainTimeout, 5*time.Second, 10*time.Millisecond, time.Hour, "5s")

	if c.Retain >= 0 {
		c.Retain = within(p, "Config.Retain", c.Retain, max(10*c.Interval, time.Minute), 4*c.Interval, 100*maxInterval, "ten intervals and at least a minute, or negative for none")
	}
}

// retainSeconds returns how long Redis is to keep a beat; 0 for not at all.
func (c *Config) retainSeconds() int64 {
	return int64((max(c.Retain, 0) + time.Second - 1) / time.Second)
}

func (c *Config) completeTargets(p *problems, service string) {
	if len(c.Channels) == 0 {
		c.Channels = []string{DefaultChannel}
	}
	if len(c.Channels) > maxChannels {
		p.addf("Config.Channels has %d entries: want at most %d", len(c.Channels), maxChannels)
		c.Channels = c.Channels[:maxChannels]
	}
	c.Channels = slices.Clone(c.Channels)
	for i, template := range c.Channels {
		c.Channels[i] = p.expand("Config.Channels", template, service, c.Instance)
		if slices.Contains(c.Channels[:i], c.Channels[i]) {
			p.addf("Config.Channels names %q twice: want each channel once", c.Channels[i])
		}
	}

	c.RetainKey = orDefault(c.RetainKey, DefaultRetainKey)
	p.perInstance("Config.RetainKey", c.RetainKey)
	c.RetainKey = p.expand("Config.RetainKey", c.RetainKey, service, c.Instance)
	if c.Stream != "" {
		c.Stream = p.expand("Config.Stream", c.Stream, service, c.Instance)
	}
	c.StreamMaxLen = orDefault(c.StreamMaxLen, 1_000_000)
	if c.StreamMaxLen > maxStreamLen {
		p.addf("Config.StreamMaxLen is %d: want 1 to %d, 0 for 1000000, or negative for no cap", c.StreamMaxLen, maxStreamLen)
	}
}

// problems gathers what is wrong with a configuration, to report all of it at once.
type problems []error

func (p *problems) addf(format string, args ...any) {
	*p = append(*p, fmt.Errorf("heartbeat: "+format, args...))
}

// within returns the value of a field, or what 0 stands for. It records a value outside of low to high, and returns
// one within them all the same, so that fields judged by this one are not reported for its mistake.
func within[T int | time.Duration](p *problems, field string, value, fallback, low, high T, zero string) T {
	value = orDefault(value, fallback)
	if value < low || value > high {
		p.addf("%s is %v: want %v to %v, or 0 for %s", field, value, low, high, zero)
	}
	return min(max(value, low), high)
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
