package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// Config tunes a consumer. The zero Config is valid and good.
type Config struct {
	// Concurrency is how many handlers run at once; [Consumer.SetConcurrency] changes it. 0 means 8.
	Concurrency int
	// BatchSize is how many messages a batch handler is given at most: a batch goes as soon as a handler is free, however small it
	// is. 0 means 1,000. For NewBatch only.
	BatchSize int
	// MaxInFlight is how many messages are held at once: waiting, being handled or being settled. 0 means 4,000, or a batch for each
	// handler and two more if that is more. Where handlers are slow, fewer spread the load more evenly over the processes. Several readers share it; with
	// fewer than there are readers, they take turns.
	MaxInFlight int
	// MaxBytes is how many bytes of payload are held at once. As a source learns the size of a message by reading it, the last
	// read may go beyond. 0 means 64 MiB, negative no limit.
	MaxBytes int64

	// Decode turns a payload into the handler's type; v is a *T. What it can't decode is a dead letter. nil means that a []byte is the
	// payload itself, and all else is json.Unmarshal. Called by many goroutines at once.
	Decode func(payload []byte, v any) error

	// Key makes messages with the same key wait for one another: they are handled in the order in which they were received, and never side by
	// side, in this process. One that failed and is tried again later comes after those that were received meanwhile. Messages with the key "" don't
	// wait for anybody. nil means that none do. Called by one goroutine, as the source is then read by one alone; the message is not to be
	// changed.
	Key func(m *Raw) string

	// MaxAttempts is how often a message is handled that fails by itself, before it is a dead letter. 0 means 5, negative no limit.
	MaxAttempts int
	// QuickTries is how often a transient failure is tried again before it counts as an outage. 0 means 3, negative none.
	QuickTries int
	// MinBackoff is the pause before the first further try; each pause is twice as long as the one before. 0 means 1 s.
	MinBackoff time.Duration
	// MaxBackoff is the longest pause. 0 means 30 s, or MinBackoff if that is longer.
	MaxBackoff time.Duration
	// IsTransient says that an error is no fault of the message: the other side can't be reached. Such an error never uses up an
	// attempt. nil means the function [IsTransient], which knows connections and errors that say so of themselves, as those of the stores do; what a
	// client of your own says while its server starts or hands over is for you to add. Called by many goroutines at once.
	IsTransient func(error) bool

	// DeadLetter keeps messages that can't be handled. They are acked once it returns nil, and until then it is called again: a message may
	// come twice. One goroutine calls it. nil leaves them to the source; where that keeps none, New refuses.
	DeadLetter func(ctx context.Context, dead []DeadLetter) error

	// MaxDeadShare is the share of dead letters among the last thousand messages or so above which intake pauses for MaxBackoff: then the
	// handler is more likely to be wrong than the messages. 0 means 0.5, 1 that it never does.
	MaxDeadShare float64

	// DrainTimeout is how long Run waits for handlers after its context has ended, before it cancels theirs. Run returns at most ten
	// seconds after that, which are for settling. 0 means 20 s, negative cancels them at once.
	DrainTimeout time.Duration

	// Logger is where the consumer reports outages, dead letters and trouble with the source. nil means slog.Default().
	Logger *slog.Logger
	// Disabled makes Run wait for its context and do nothing else: messages wait at the source.
	Disabled bool
}

// DeadLetter is a message that can't be handled, and why. Err is the last failure: a [*PanicError] has the stack.
type DeadLetter struct {
	*Raw
	Err error
}

// batchSizes of New, which has no choice, and of NewBatch.
const (
	singly           = 1
	defaultBatchSize = 1000
)

// withDefaults returns the Config with which a consumer runs, or all that is wrong with c.
func (c Config) withDefaults(batchSize int) (Config, error) {
	var noBatch error
	if batchSize == singly && c.BatchSize != 0 {
		noBatch = fmt.Errorf("consumer: Config.BatchSize is %d: want 0 with New, which hands out one message at a time", c.BatchSize)
		c.BatchSize = singly
	}
	c.Concurrency = cmp.Or(c.Concurrency, 8)
	c.BatchSize = cmp.Or(c.BatchSize, batchSize)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, max(4000, (c.Concurrency+2)*c.BatchSize))
	c.MaxBytes = cmp.Or(c.MaxBytes, 64<<20)
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 5)
	c.QuickTries = cmp.Or(c.QuickTries, 3)
	c.MinBackoff = cmp.Or(c.MinBackoff, time.Second)
	c.MaxBackoff = cmp.Or(c.MaxBackoff, max(30*time.Second, c.MinBackoff))
	c.MaxDeadShare = cmp.Or(c.MaxDeadShare, 0.5)
	c.DrainTimeout = max(0, cmp.Or(c.DrainTimeout, 20*time.Second))
	err := errors.Join(
		noBatch,
		within("Concurrency", c.Concurrency, 1, maxConcurrency, "0 for 8"),
		within("BatchSize", c.BatchSize, 1, 1_000_000, "0 for 1000"),
		within("MaxInFlight", c.MaxInFlight, 1, math.MaxInt, "0 for the default"),
		within("MinBackoff", c.MinBackoff, time.Millisecond, time.Hour, "0 for 1s"),
		within("MaxDeadShare", c.MaxDeadShare, 0.01, 1, "0 for 0.5"),
		within("MaxBackoff", c.MaxBackoff, c.MinBackoff, 24*time.Hour, "0 for 30s"),
	)
	if c.MaxBytes < 0 {
		c.MaxBytes = math.MaxInt64
	}
	if c.MaxAttempts < 0 {
		c.MaxAttempts = math.MaxInt
	}
	if c.IsTransient == nil {
		c.IsTransient = IsTransient
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, err
}

func within[N int | float64 | time.Duration](field string, v, least, most N, otherwise string) error {
	if least <= v && v <= most { // not so for a NaN
		return nil
	}
	return fmt.Errorf("consumer: Config.%s is %v: want %v to %v, or %s", field, v, least, most, otherwise)
}

// decoder returns how payloads become values of type T.
func decoder[T any](decode func(payload []byte, v any) error) func(*Message[T]) error {
	if decode == nil {
		if _, raw := any((*T)(nil)).(*[]byte); raw {
			return func(m *Message[T]) error {
				*any(&m.Value).(*[]byte) = m.Payload
				return nil
			}
		}
		decode = json.Unmarshal
	}
	return func(m *Message[T]) (err error) {
		defer recovered(&err)
		return decode(m.Payload, &m.Value)
	}
}
