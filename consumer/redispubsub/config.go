package redispubsub

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config says what to listen to. Channels or Patterns are required.
type Config struct {
	// Channels and Patterns are for SUBSCRIBE and PSUBSCRIBE.
	Channels, Patterns []string

	// Buffer is how many messages may wait for the consumer. 0 means 10,000.
	Buffer int
	// BufferBytes is how many bytes of payload may wait; one message always may. 0 means 64 MiB.
	BufferBytes int64
	// Overflow is what happens to a message for which there is no room.
	Overflow Overflow

	// MaxMessage is how many bytes a message may have: larger ones are left out, and counted. 0 means 1 MiB.
	MaxMessage int
	// Ping is how often the server is asked for a sign of life. 0 means 3 s.
	Ping time.Duration
	// Timeout is how long the server may take to give one. 0 means 5 s.
	Timeout time.Duration

	// Gap is told of each time of deafness when it is over. It must not block, as nothing is heard meanwhile. nil: nobody is.
	Gap func(Gap)
	// Logger is where deafness and losses are reported. nil means slog.Default().
	Logger *slog.Logger
}

// Overflow is what happens when the consumer is slower than those who publish.
type Overflow uint8

const (
	// DropOldest makes room for what is newer, and counts what it dropped.
	DropOldest Overflow = iota
	// DropNewest keeps what waits, and counts what it dropped.
	DropNewest
	// Wait reads no more until there is room. Redis buffers for a while (client-output-buffer-limit pubsub) and then cuts the connection,
	// which is a gap: nobody knows how much was lost.
	Wait
)

// Gap is a time in which messages may have been published that were not heard.
type Gap struct {
	Since, Until time.Time
	// Why is what ended the subscription, or the newest failure to make it again.
	Why error
}

func (c Config) withDefaults() (Config, error) {
	c.Buffer = cmp.Or(c.Buffer, 10_000)
	c.BufferBytes = cmp.Or(c.BufferBytes, 64<<20)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	if c.Buffer < 1 || c.Buffer > 10_000_000 {
		errs = append(errs, fmt.Errorf("redispubsub: Config.Buffer is %d: want 1 to 10000000, or 0 for 10000", c.Buffer))
	}
	if c.BufferBytes < 1 {
		errs = append(errs, fmt.Errorf("redispubsub: Config.BufferBytes is %d: want at least 1, or 0 for 64 MiB", c.BufferBytes))
	}
	if c.Overflow > Wait {
		errs = append(errs, fmt.Errorf("redispubsub: Config.Overflow is %d: want DropOldest, DropNewest or Wait", c.Overflow))
	}
	return c, errors.Join(errs...)
}
