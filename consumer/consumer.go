package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Consumer hands the messages of a Source to a handler. Its methods are safe for concurrent use.
type Consumer[T any] struct {
	cfg     Config
	src     Source
	log     *slog.Logger
	decode  func(*Message[T]) error
	handler func(ctx context.Context, unit []*Message[T]) error

	budget  *budget
	queue   *queue[T]
	crew    crew[T]
	paused  atomic.Bool
	stolen  stolen
	deaths  *deaths
	workers sync.WaitGroup
	outage  *outage
	settler *settler
	graves  *settler      // of dead letters: those that can't be stored hold up nothing else
	source  chan struct{} // filled while a settler is at the source
	keptIn  string        // are dead letters, for the log

	tally     tally
	successes atomic.Uint64 // calls of the handler that returned no error
}

// New returns a consumer that hands handler one message at a time. Nothing starts before Run. The consumer takes src over: Run
// closes it if it is a [Closer].
//
// A handler that returns nil is done with the message. The error tells what becomes of it otherwise: see the package's comment. The
// context of a handler ends when draining takes longer than Config.DrainTimeout, and when the message was lent to somebody else ([ErrLeaseLost]).
func New[T any](src Source, handler func(ctx context.Context, m *Message[T]) error, cfg Config) (*Consumer[T], error) {
	if handler == nil {
		return nil, errors.New("consumer: handler is nil")
	}
	return build(src, cfg, singly, func(ctx context.Context, unit []*Message[T]) error {
		return handler(ctx, unit[0])
	})
}

// NewBatch is New for a handler of batches, of up to Config.BatchSize messages in the order in which they were received. The slice
// belongs to the handler.
//
// A handler that returns nil is done with all messages but those that it marked with [Message.Fail]. If it returns an error nothing
// counts as done: the messages that it marked, or the one that the error names by a method FailedIndex() int, have failed, and
// the rest is handed over again. Without such a hint the batch is halved until the culprits are found.
func NewBatch[T any](src Source, handler func(ctx context.Context, batch []*Message[T]) error, cfg Config) (*Consumer[T], error) {
	if handler == nil {
		return nil, errors.New("consumer: handler is nil")
	}
	return build(src, cfg, defaultBatchSize, func(ctx context.Context, unit []*Message[T]) error {
		batch := slices.Clone(unit) // which the handler may sort
		err := handler(ctx, batch)
		if named, ok := errors.AsType[interface {
			error
			FailedIndex() int
		}](err); ok {
			if i := named.FailedIndex(); 0 <= i && i < len(batch) && batch[i] != nil {
				batch[i].Fail(err)
			}
		}
		return err
	})
}

func build[T any](
	src Source, cfg Config, batchSize int, handler func(ctx context.Context, unit []*Message[T]) error,
) (*Consumer[T], error) {
	if v := reflect.ValueOf(src); src == nil || v.Kind() == reflect.Pointer && v.IsNil() { // what a New returns beside an error that was passed over
		return nil, errors.New("consumer: source is nil")
	}
	cfg, err := cfg.withDefaults(batchSize)
	keptIn := "Config.DeadLetter"
	if keeper, keeps := src.(DeadKeeper); keeps && cfg.DeadLetter == nil {
		keptIn = keeper.KeepsDead()
	} else if cfg.DeadLetter == nil {
		err = errors.Join(err, fmt.Errorf("consumer: Config.DeadLetter is nil: want a function, as %T keeps no dead letters", src))
	}
	if err != nil {
		return nil, err
	}
	c := &Consumer[T]{
		cfg: cfg, src: src, log: cfg.Logger, decode: decoder[T](cfg.Decode), handler: handler, queue: newQueue[T](cfg.Key != nil), keptIn: keptIn,
	}
	c.budget = newBudget(Credit{Count: cfg.MaxInFlight, Bytes: cfg.MaxBytes}, c.readers())
	c.outage = newOutage(c.log, func(on bool) {
		c.budget.hold(byOutage, on)
		c.queue.hold(byOutage, on)
	})
	c.deaths = &deaths{log: c.log, limit: cfg.MaxDeadShare, pause: cfg.MaxBackoff, hold: func(on bool) { c.budget.hold(byDeaths, on) }}
	c.source = make(chan struct{}, 1)
	c.settler = newSettler("settle messages", c.log, c.store, c.settled)
	if c.graves = newSettler("keep dead letters", c.log, c.store, c.settled); cfg.DeadLetter != nil {
		c.graves.store, c.graves.stored = c.bury, c.buried
	}
	c.crew.wanted, c.crew.workers = cfg.Concurrency, map[*worker[T]]struct{}{}
	c.tally.lag.Store(-1)
	c.tally.made = time.Now()
	return c, nil
}

func (c *Consumer[T]) readers() int {
	p, ok := c.src.(Parallel)
	if !ok || c.cfg.Key != nil { // what two readers bring is queued in any order
		return 1
	}
	return max(1, p.Readers())
}

// invoke calls the handler. Its panic becomes an error.
func (c *Consumer[T]) invoke(ctx context.Context, unit []*Message[T]) (err error) {
	defer recovered(&err)
	return c.handler(ctx, unit)
}

// transient asks Config.IsTransient, unless the error was marked as permanent. A panic there counts as no.
func (c *Consumer[T]) transient(err error) (yes bool) {
	var panicked error
	defer recovered(&panicked)
	return !isPermanent(err) && c.cfg.IsTransient(err)
}

func (c *Consumer[T]) succeeded() {
	c.successes.Add(1)
	c.outage.end()
}

// settle passes outcomes on to where they are stored.
func (c *Consumer[T]) settle(outcomes []Outcome) {
	c.tally.count(outcomes)
	c.deaths.count(outcomes)
	isDead := func(o Outcome) bool { return o.Kind == Dead }
	if !slices.ContainsFunc(outcomes, isDead) {
		c.settler.push(outcomes...)
		return
	}
	for _, o := range outcomes {
		if isDead(o) {
			c.graves.push(o)
		} else {
			c.settler.push(o)
		}
	}
}

// store hands outcomes to the source, which serves one call at a time.
func (c *Consumer[T]) store(ctx context.Context, batch []Outcome) error {
	select {
	case c.source <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.source }()
	return c.src.Settle(ctx, batch)
}

// settled takes note of what the source has stored.
func (c *Consumer[T]) settled(batch []Outcome) {
	var done Credit
	for _, o := range batch {
		done.Count++
		done.Bytes += o.size
	}
	c.budget.refund(done)
	c.stolen.forget(batch)
	c.reportDead(batch)
}

// bury hands dead letters to the function of the Config.
func (c *Consumer[T]) bury(ctx context.Context, batch []Outcome) error {
	dead := make([]DeadLetter, len(batch))
	for i, o := range batch {
		dead[i] = DeadLetter{Raw: o.Raw, Err: o.Err}
	}
	return c.cfg.DeadLetter(ctx, dead)
}

// buried acks what is kept.
func (c *Consumer[T]) buried(batch []Outcome) {
	c.reportDead(batch)
	for i := range batch {
		batch[i].Kind = Ack
	}
	c.settler.push(batch...)
}

// reportDead logs one line per batch: a flood of dead letters is no flood of lines.
func (c *Consumer[T]) reportDead(batch []Outcome) {
	count := 0
	var first Outcome
	for _, o := range batch {
		if o.Kind != Dead {
			continue
		}
		if count++; count == 1 {
			first = o
		}
	}
	if count > 0 {
		c.log.Error("consumer: dead letters",
			"count", count, "kept_in", c.keptIn, "first", first.ID, "attempts", first.Attempt, "error", first.Err)
	}
}
