package queue

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config of a [Queue]. The zero Config is valid: each field's default is named beside it.
type Config struct {
	// Shards is the number of independent waiting lines: 1 to 1,024, 4 by default. More of them means less
	// contention between submitters.
	Shards int

	// ShardCapacity is how many jobs may wait in one shard: 1 to 100,000,000, 100,000 by default. It is a bound:
	// no memory is set aside for it.
	ShardCapacity int

	// Concurrency is how many handlers may run at once: 1 to 1,000,000, 4,000 by default. That suits handlers which
	// wait for others. For handlers which compute, a small multiple of GOMAXPROCS is enough.
	Concurrency int

	// RoundRobin has jobs with an ID but no Key take turns over the shards, as anonymous ones do, instead of going where
	// the hash of the ID says. Those with a Key always go by its hash.
	RoundRobin bool

	// Retry says how tasks that fail are tried again. By default they are not.
	Retry Retry

	// StuckAfter is how long a handler may run before it is reported: 10 minutes by default, to the second. A negative
	// value switches that off.
	StuckAfter time.Duration

	Tracker any

	// DrainTimeout is how long Run goes on with accepted jobs after its context has ended: up to 24 hours, 30 seconds
	// by default. A negative value means not at all. Handlers that still run then have their context cancelled, and
	// five more seconds to notice.
	DrainTimeout time.Duration

	// Logger receives a drain's course and handlers' panics. slog.Default() by default.
	Logger *slog.Logger
}

const (
	defaultShards        = 4
	defaultShardCapacity = 100_000
	defaultConcurrency   = 4_000
	defaultDrainTimeout  = 30 * time.Second
	defaultStuckAfter    = 10 * time.Minute

	maxShards        = 1_024
	maxShardCapacity = 100_000_000
	maxConcurrency   = 1_000_000
	maxDrainTimeout  = 24 * time.Hour
)

func (c Config) withDefaults() Config {
	c.Shards = cmp.Or(c.Shards, defaultShards)
	c.ShardCapacity = cmp.Or(c.ShardCapacity, defaultShardCapacity)
	c.Concurrency = cmp.Or(c.Concurrency, defaultConcurrency)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, defaultDrainTimeout)
	c.StuckAfter = cmp.Or(c.StuckAfter, defaultStuckAfter)
	c.Retry.Attempts = cmp.Or(c.Retry.Attempts, 1)
	c.Retry.MinBackoff = cmp.Or(c.Retry.MinBackoff, defaultMinBackoff)
	c.Retry.MaxBackoff = cmp.Or(c.Retry.MaxBackoff, max(defaultMaxBackoff, c.Retry.MinBackoff))
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate reports all that is wrong with a Config whose defaults are filled in.
func (c Config) validate() error {
	errs := []error{
		checkCount("Shards", c.Shards, maxShards, defaultShards),
		checkCount("ShardCapacity", c.ShardCapacity, maxShardCapacity, defaultShardCapacity),
		checkCount("Concurrency", c.Concurrency, maxConcurrency, defaultConcurrency),
		checkCount("Retry.Attempts", c.Retry.Attempts, maxAttempts, 1),
	}
	if r := c.Retry; r.MinBackoff < 0 || r.MaxBackoff < r.MinBackoff || r.MaxBackoff > maxMaxBackoff {
		errs = append(errs, fmt.Errorf("queue: Config.Retry backs off from %s to %s: want 0 < MinBackoff <= MaxBackoff <= 24h, or 0 for %s and %s",
			r.MinBackoff, r.MaxBackoff, defaultMinBackoff, defaultMaxBackoff))
	}
	if c.DrainTimeout > maxDrainTimeout {
		errs = append(errs, fmt.Errorf("queue: Config.DrainTimeout is %s: want up to 24h, 0 for %s, or less than 0 for none",
			c.DrainTimeout, defaultDrainTimeout))
	}
	return errors.Join(errs...)
}

func checkCount(field string, n, limit, otherwise int) error {
	if n >= 1 && n <= limit {
		return nil
	}
	return fmt.Errorf("queue: Config.%s is %d: want 1 to %d, or 0 for %d", field, n, limit, otherwise)
}
