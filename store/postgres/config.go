package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// Config is how a DB works. The zero Config is valid and good.
type Config struct {
	// Schema holds the tables: 1 to 63 bytes, "" for "public". Migrate makes it where it is missing.
	Schema string

	// PoolSize is how many connections are used in ordinary times, 1 to 1000, or 0 for 15. Postgres itself allows 100
	// for all its clients by default: mind how many processes there are.
	PoolSize int

	// MaxConnections is how many connections a burst may use, PoolSize to 1000, or 0 for PoolSize. Those above PoolSize
	// are the overflow of Stats. A connection that has been idle for five minutes is closed.
	MaxConnections int

	// AcquireTimeout limits the wait for a connection, 10ms to 1h, or 0 for 20s; negative waits as long as the context
	// of the call allows.
	AcquireTimeout time.Duration

	// MaxConnLifetime is the age at which a connection is replaced, 1s to 24h, or 0 for 15m; negative keeps connections.
	// Each gets up to a tenth less, so that they aren't all replaced at once.
	MaxConnLifetime time.Duration

	// Retention is how long the audit log, finished requests and queue metrics are kept, 24h to 87600h (ten years), or 0 for 720h (30 days). Maintain drops
	// the UTC days that lie wholly behind it; finished requests go by whole weeks, up to a week later. Negative keeps all; late messages are
	// then taken from 30 days back, or from the oldest day that has messages. Processes that share a schema need the same value.
	Retention time.Duration

	// Logger is told what was migrated, dropped and retried. Nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultSchema          = "public"
	defaultPoolSize        = 15
	maxPoolSize            = 1000
	defaultAcquireTimeout  = 20 * time.Second
	defaultMaxConnLifetime = 15 * time.Minute
	defaultRetention       = 30 * 24 * time.Hour
	maxRetention           = 3650 * 24 * time.Hour
)

// withDefaults returns a copy without zero values, or everything that is wrong.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Schema == "" {
		c.Schema = defaultSchema
	}
	if len(c.Schema) > 63 || strings.IndexByte(c.Schema, 0) >= 0 || !utf8.ValidString(c.Schema) {
		errs = append(errs, fmt.Errorf(`postgres: Config.Schema is %q: want 1 to 63 bytes of UTF-8 without NUL, or "" for %q`, c.Schema, defaultSchema))
	}
	if c.PoolSize == 0 {
		c.PoolSize = defaultPoolSize
	}
	if c.PoolSize < 1 || c.PoolSize > maxPoolSize {
		errs = append(errs, fmt.Errorf("postgres: Config.PoolSize is %d: want 1 to %d, or 0 for %d", c.PoolSize, maxPoolSize, defaultPoolSize))
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = c.PoolSize
	}
	if c.MaxConnections < c.PoolSize || c.MaxConnections > maxPoolSize {
		errs = append(errs, fmt.Errorf("postgres: Config.MaxConnections is %d: want %d (PoolSize) to %d, or 0 for PoolSize", c.MaxConnections, c.PoolSize, maxPoolSize))
	}
	duration := func(field string, value *time.Duration, low, high, standard time.Duration) {
		if *value == 0 {
			*value = standard
		}
		if *value > 0 && (*value < low || *value > high) {
			errs = append(errs, fmt.Errorf("postgres: Config.%s is %s: want %s to %s, 0 for %s, or negative for no limit", field, *value, low, high, standard))
		}
	}
	duration("AcquireTimeout", &c.AcquireTimeout, 10*time.Millisecond, time.Hour, defaultAcquireTimeout)
	duration("MaxConnLifetime", &c.MaxConnLifetime, time.Second, 24*time.Hour, defaultMaxConnLifetime)
	duration("Retention", &c.Retention, 24*time.Hour, maxRetention, defaultRetention)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, errors.Join(errs...)
}
