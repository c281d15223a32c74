package queue

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
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

	// RoundRobin has jobs with an ID but no Key take turns over the shards, as anonymous ones do (those of Go 16 at a time, each processor
	// by itself), instead of going where the hash of the ID says. Those with a Key always go by its hash.
	RoundRobin bool

	// Retry says how tasks that fail are tried again. By default they are not.
	Retry Retry

	// StuckAfter is how long a handler may run before it is reported: 10 minutes by default, to the second. A negative
	// value switches that off.
	StuckAfter time.Duration

	// Tracker, unless nil, keeps what is accepted, so that it survives the process: the stores of this library do. Payloads and
	// results are kept as JSON. Then
	//   - Submit, SubmitBatch and Go return once the job is stored: submissions that come at the same time share a commit;
	//   - a job whose ID the tracker knows is not run again: its ticket has the outcome that was recorded, or Submit says
	//     [ErrElsewhere] while another process has it;
	//   - what a process leaves unfinished when it dies is taken over by another queue of the same Name, or by this one
	//     when it starts again. So a task may be run more than once: its handler should be idempotent by ID. Its outcome is recorded once;
	//   - while the tracker can't be reached, jobs are refused with [ErrOutage], those on their way with [ErrUnknown]; those that
	//     were accepted go on, and their outcomes are recorded later.
	Tracker Tracker

	// Name is that of the queue in the tracker, "default" by default. Queues of the same name, in any process, take over from one another.
	Name string

	// Owner names this process in the tracker. It must be unique among all queues of that Name, over time as well: a random name by default.
	Owner string

	// Lease is for how long others leave the work of a process alone that is not heard of: 1 second to 24 hours, 30 seconds by default.
	// It is renewed every third of it, which is also how often the queue looks for what others have left.
	Lease time.Duration

	// AcceptUntracked has jobs accepted while the tracker can't be reached, in memory alone. Stats.Tracked counts them.
	AcceptUntracked bool

	// SampleEvery is how often the tracker is given a sample of each shard, 10 seconds by default. A negative value switches that off.
	SampleEvery time.Duration

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
	defaultName          = "default"
	defaultLease         = 30 * time.Second
	defaultSampleEvery   = 10 * time.Second

	maxShards        = 1_024
	maxShardCapacity = 100_000_000
	maxConcurrency   = 1_000_000
	maxDrainTimeout  = 24 * time.Hour
	minLease         = time.Second
	maxLease         = 24 * time.Hour
)

func (c Config) withDefaults() Config {
	c.Shards = cmp.Or(c.Shards, defaultShards)
	c.ShardCapacity = cmp.Or(c.ShardCapacity, defaultShardCapacity)
	c.Concurrency = cmp.Or(c.Concurrency, defaultConcurrency)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, defaultDrainTimeout)
	c.StuckAfter = cmp.Or(c.StuckAfter, defaultStuckAfter)
	c.Name = cmp.Or(c.Name, defaultName)
	if c.Owner == "" {
		c.Owner = rand.Text()
	}
	c.Lease = cmp.Or(c.Lease, defaultLease)
	c.SampleEvery = cmp.Or(c.SampleEvery, defaultSampleEvery)
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
	if err := checkName("Config.Name", c.Name); err != nil {
		errs = append(errs, err)
	}
	if err := checkName("Config.Owner", c.Owner); err != nil {
		errs = append(errs, err)
	}
	if c.Lease < minLease || c.Lease > maxLease {
		errs = append(errs, fmt.Errorf("queue: Config.Lease is %s: want 1s to 24h, or 0 for %s", c.Lease, defaultLease))
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

// maxName is what a tracker takes, in bytes.
const maxName = 512

func checkName(field, name string) error {
	if len(name) > maxName || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("queue: %s is %.80q: a tracker wants UTF-8 without NUL, up to %d bytes", field, name, maxName)
	}
	return nil
}
