package sqlite

import (
	"fmt"
	"time"
)

// Config is how a DB works. The zero Config is valid and good.
type Config struct {
	// Retention is how long the audit log, finished requests and queue metrics are kept, 24h to 87600h (ten years), or 0 for 720h (30 days). Maintain deletes
	// the UTC days that lie wholly behind it. Negative keeps all; late messages are then taken from 30 days back,
	// or from the oldest day that has messages. Processes that share a file need the same value.
	Retention time.Duration
}

const (
	defaultRetention = 30 * 24 * time.Hour
	maxRetention     = 3650 * 24 * time.Hour
)

// withDefaults returns a copy without zero values, or what is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.Retention == 0 {
		c.Retention = defaultRetention
	}
	if c.Retention > 0 && (c.Retention < 24*time.Hour || c.Retention > maxRetention) {
		return c, fmt.Errorf("sqlite: Config.Retention is %s: want %s to %s, 0 for %s, or negative for no limit",
			c.Retention, 24*time.Hour, maxRetention, defaultRetention)
	}
	return c, nil
}
