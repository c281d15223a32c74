package redissub

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config says what to subscribe to, and who is told. Channels or Patterns, and Message, are required.
type Config struct {
	// Channels and Patterns are for SUBSCRIBE and PSUBSCRIBE. A message that matches several comes several times, as in Redis itself.
	Channels, Patterns []string

	// Message receives the messages in the order of the server. While it runs nothing more is read: a slow receiver is waited for, until
	// the server runs out of patience and cuts the connection, which is then a [Gap].
	Message func(Message)

	// Up is told when the subscription is in force, for the first time or again. nil: nobody is.
	Up func(Gap)

	// Down is told when the subscription is lost, and after each failed attempt to make it. nil: nobody is.
	Down func(error)

	// Ping is how often the server is asked for a sign of life, 10ms to 1h. 0 means 3s.
	Ping time.Duration

	// Timeout is how long the server may be silent when it has been asked, 10ms to 1h. A dead connection is noticed within Ping and
	// Timeout together. 0 means 5s.
	Timeout time.Duration

	// MaxBytes bounds the memory for one message, 64 to 536870912: what is larger is delivered without its payload. 0 means 1 MiB.
	MaxBytes int
}

func (c Config) complete() (Config, error) {
	var errs []error
	c.Channels, c.Patterns = slices.Clone(c.Channels), slices.Clone(c.Patterns)
	if len(c.Channels)+len(c.Patterns) == 0 {
		errs = append(errs, errors.New("redissub: Config.Channels and Config.Patterns are both empty: want something to subscribe to"))
	}
	if c.Message == nil {
		errs = append(errs, errors.New("redissub: Config.Message is nil: want a function"))
	}
	if c.Up == nil {
		c.Up = func(Gap) {}
	}
	if c.Down == nil {
		c.Down = func(error) {}
	}
	c.Ping = within(&errs, "Ping", c.Ping, 3*time.Second, 10*time.Millisecond, time.Hour)
	c.Timeout = within(&errs, "Timeout", c.Timeout, 5*time.Second, 10*time.Millisecond, time.Hour)
	c.MaxBytes = within(&errs, "MaxBytes", c.MaxBytes, 1<<20, 64, maxBulk)
	return c, errors.Join(errs...)
}

func within[T int | time.Duration](errs *[]error, field string, value, fallback, low, high T) T {
	if value == 0 {
		return fallback
	}
	if value < low || value > high {
		*errs = append(*errs, fmt.Errorf("redissub: Config.%s is %v: want %v to %v, or 0 for %v", field, value, low, high, fallback))
	}
	return value
}
