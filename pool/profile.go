package pool

import (
	"errors"
	"fmt"
	"time"
)

// Profile says what a process does with Redis. Start from [API] or [Worker] and change fields; a field of zero has API's value.
type Profile struct {
	// MaxConnections is how many connections Standard holds at most, in a Cluster over all masters together; 1 to 10,000. Those of
	// Blocking come on top. So do single connections: one that wakes blocked commands, one per Subscribe, and up to 12 to Sentinels.
	MaxConnections int

	// BlockingConnections is how many commands of Blocking can wait at the same time, 1 to 10,000. They are opened when needed.
	BlockingConnections int

	// SocketTimeout is how long the server may take over one read or write, 100 ms to 10 min. A context's deadline counts if it is earlier.
	SocketTimeout time.Duration

	// BlockingTimeout is how long one call of Blocking waits at most, 1 s to 1 h.
	BlockingTimeout time.Duration

	// HealthCheckInterval is how long a connection may lie idle and still be trusted, 1 s to 1 h: after that it is replaced before use, as
	// a firewall may have forgotten it, and a command that it swallows can't be repeated safely. Negative: always trusted.
	HealthCheckInterval time.Duration

	// RetryBudget is how long Standard repeats a command that failed for want of a connection, counted from its start, 100 ms to 1 min;
	// see [Clients.Standard] for what is repeated. No attempt after the first lasts longer. Negative: nothing is repeated.
	RetryBudget time.Duration

	// KeepAlive is how a peer that vanished is noticed.
	KeepAlive KeepAlive

	envPrefix string
}

// API is the profile of a process that answers requests: 50 connections, 30 s for a reply, 30 s between health checks, 120 s for
// long-running commands, 10 of which may wait at once.
func API() Profile {
	return Profile{
		MaxConnections:      50,
		BlockingConnections: 10,
		SocketTimeout:       30 * time.Second,
		BlockingTimeout:     120 * time.Second,
		HealthCheckInterval: 30 * time.Second,
		RetryBudget:         2 * time.Second,
		KeepAlive:           KeepAlive{Idle: 30 * time.Second, Interval: 5 * time.Second, Probes: 3},
	}
}

// Worker is the profile of a process that waits for work: 30 connections, 60 s for a reply, 60 s between health checks, up to 300 s for
// blocking commands, 30 of which may wait at once.
func Worker() Profile {
	return Profile{
		MaxConnections:      30,
		BlockingConnections: 30,
		SocketTimeout:       60 * time.Second,
		BlockingTimeout:     300 * time.Second,
		HealthCheckInterval: 60 * time.Second,
		RetryBudget:         2 * time.Second,
		KeepAlive:           API().KeepAlive,
		envPrefix:           "WORKER_",
	}
}

// The limits of a Profile, and of the environment.
const (
	mostConnections                           = 10_000
	leastSocketTimeout, mostSocketTimeout     = 100 * time.Millisecond, 10 * time.Minute
	leastBlockingTimeout, mostBlockingTimeout = time.Second, time.Hour
	leastHealthCheck, mostHealthCheck         = time.Second, time.Hour
	leastRetryBudget, mostRetryBudget         = 100 * time.Millisecond, time.Minute
)

func (p Profile) withDefaults() Profile {
	api := API()
	p.MaxConnections = orDefault(p.MaxConnections, api.MaxConnections)
	p.BlockingConnections = orDefault(p.BlockingConnections, api.BlockingConnections)
	p.SocketTimeout = orDefault(p.SocketTimeout, api.SocketTimeout)
	p.BlockingTimeout = orDefault(p.BlockingTimeout, api.BlockingTimeout)
	p.HealthCheckInterval = orDefault(p.HealthCheckInterval, api.HealthCheckInterval)
	p.RetryBudget = orDefault(p.RetryBudget, api.RetryBudget)
	if p.KeepAlive.Idle >= 0 {
		p.KeepAlive.Idle = orDefault(p.KeepAlive.Idle, api.KeepAlive.Idle)
		p.KeepAlive.Interval = orDefault(p.KeepAlive.Interval, api.KeepAlive.Interval)
		p.KeepAlive.Probes = orDefault(p.KeepAlive.Probes, api.KeepAlive.Probes)
	}
	return p
}

func orDefault[T comparable](value, preset T) T {
	var zero T
	if value == zero {
		return preset
	}
	return value
}

func (p Profile) validate() error {
	api := API()
	errs := []error{
		inRange("Profile.MaxConnections", p.MaxConnections, 1, mostConnections, api.MaxConnections),
		inRange("Profile.BlockingConnections", p.BlockingConnections, 1, mostConnections, api.BlockingConnections),
		inRange("Profile.SocketTimeout", p.SocketTimeout, leastSocketTimeout, mostSocketTimeout, api.SocketTimeout),
		inRange("Profile.BlockingTimeout", p.BlockingTimeout, leastBlockingTimeout, mostBlockingTimeout, api.BlockingTimeout),
	}
	if p.HealthCheckInterval >= 0 {
		errs = append(errs, inRange("Profile.HealthCheckInterval", p.HealthCheckInterval, leastHealthCheck, mostHealthCheck, api.HealthCheckInterval))
	}
	if p.RetryBudget >= 0 {
		errs = append(errs, inRange("Profile.RetryBudget", p.RetryBudget, leastRetryBudget, mostRetryBudget, api.RetryBudget))
	}
	if k := p.KeepAlive; k.Idle >= 0 {
		errs = append(errs,
			inRange("Profile.KeepAlive.Idle", k.Idle, time.Second, 2*time.Hour, api.KeepAlive.Idle),
			inRange("Profile.KeepAlive.Interval", k.Interval, time.Second, 2*time.Hour, api.KeepAlive.Interval),
			inRange("Profile.KeepAlive.Probes", k.Probes, 1, 100, api.KeepAlive.Probes),
		)
	}
	return errors.Join(errs...)
}

func inRange[T int | float64 | time.Duration](field string, value, least, most, preset T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("pool: Config.%s is %v: want %v to %v, or 0 for %v", field, value, least, most, preset)
}

// KeepAlive is how TCP notices a peer that vanished without a word: after Idle plus Interval times Probes. On Linux the same limit holds for
// data that stays unacknowledged (TCP_USER_TIMEOUT), which probes don't cover. The zero value has 30 s, 5 s and 3; a
// negative Idle turns all of it off.
type KeepAlive struct {
	Idle     time.Duration // silence before the first probe, 1 s to 2 h
	Interval time.Duration // between probes, 1 s to 2 h
	Probes   int           // unanswered ones before the connection is dead, 1 to 100
}

// PatientKeepAlive is 600 s, 60 s and 3: it notices a dead peer after 13 minutes, for links where a probe costs money.
func PatientKeepAlive() KeepAlive {
	return KeepAlive{Idle: 600 * time.Second, Interval: 60 * time.Second, Probes: 3}
}

// patience is how long a silent peer is believed in.
func (k KeepAlive) patience() time.Duration {
	return k.Idle + time.Duration(k.Probes)*k.Interval
}
