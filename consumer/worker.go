package consumer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// errGoexit is the failure of a handler that ended its goroutine.
var errGoexit = errors.New("consumer: the handler called runtime.Goexit, as testing's FailNow does")

// worker runs one handler at a time. A unit is what it hands over in one call: a message, a batch or a part of one.
type worker[T any] struct {
	c *Consumer[T]

	open []*Message[T]   // what was popped: each of it gets settled or goes back to the queue
	todo [][]*Message[T] // units of it that are still to be handled, the next one last
	out  []Outcome

	mu     sync.Mutex
	unit   []*Message[T]   // guarded by mu; of the running call
	life   context.Context // guarded by mu; of calls
	cancel context.CancelCauseFunc
}

// run works until the queue is closed. Handlers run under ctx; no further try is made once drain has ended.
func (w *worker[T]) run(ctx, drain context.Context) {
	finished := false
	defer func() {
		if !finished { // Goexit: this goroutine is lost, its place is not
			w.replace(ctx, drain)
		}
	}()
	for {
		if w.open = w.c.queue.pop(w.open[:0], w.c.cfg.BatchSize); len(w.open) == 0 {
			finished = true
			w.c.left(w)
			return
		}
		w.process(ctx, drain)
		w.c.queue.done(w.open)
		clear(w.open)
	}
}

// process takes what is open to its end.
func (w *worker[T]) process(ctx, drain context.Context) {
	w.todo = append(w.todo[:0], w.decode(w.open))
	for len(w.todo) > 0 {
		last := len(w.todo) - 1
		unit := w.todo[last]
		w.todo = w.todo[:last]
		if len(unit) > 0 {
			w.todo = append(w.todo, w.handle(ctx, drain, unit)...)
		}
	}
}

// decode returns the messages of unit that can be decoded. The others are dead.
func (w *worker[T]) decode(unit []*Message[T]) []*Message[T] {
	bad := false
	for _, m := range unit {
		if m.decoded {
			continue
		}
		m.decoded = true
		if err := w.c.decode(m); err != nil {
			bad = true
			w.add(m, Outcome{Kind: Dead, Err: err})
		}
	}
	if !bad {
		return unit
	}
	w.flush()
	return unsettled(unit)
}

// handle calls the handler until unit is settled, or returns the parts that are to be handled on their own, the last one first.
func (w *worker[T]) handle(ctx, drain context.Context, unit []*Message[T]) (parts [][]*Message[T]) {
	before := w.c.successes.Load()
	if unit[0].suspect {
		before-- // others got through before this one was handed over again
	}
	for tries := 1; ; tries++ {
		if unit = w.dropStolen(unit, nil); len(unit) == 0 {
			return nil
		}
		err := w.call(ctx, unit)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			w.release(unit, nil) // it was cancelled: that says nothing about the messages
			return nil
		case w.robbed(&unit):
			return [][]*Message[T]{unit}
		case !w.c.transient(err), w.c.successes.Load() != before:
			return w.split(unit, err) // not the other side, as that answered somebody else: something in this unit
		case tries <= w.c.cfg.QuickTries:
			if !sleep(drain, w.pause(tries)) {
				w.release(unit, err)
				return nil
			}
		default:
			if unit = w.sitOut(ctx, drain, unit, err); len(unit) == 0 {
				return nil
			}
			tries = 0 // before stays: what fails although the probe got through is itself to blame
		}
	}
}

// call runs the handler once. If it got through, unit is settled and call returns nil.
func (w *worker[T]) call(ctx context.Context, unit []*Message[T]) error {
	for _, m := range unit {
		m.err = nil
	}
	begun := time.Now()
	err := w.c.invoke(w.begin(ctx, unit), unit)
	w.finish()
	now := time.Now()
	w.c.tally.handling.Record(now.Sub(begun), now.Sub(w.c.tally.made))
	if err == nil && !slices.ContainsFunc(unit, func(m *Message[T]) bool { return m.err == nil }) {
		err = unit[0].err // all were marked: the call as a whole failed
	}
	if err != nil {
		return err
	}
	w.c.succeeded()
	for _, m := range unit {
		if m.err == nil {
			w.add(m, Outcome{Kind: Ack})
		} else {
			w.add(m, w.verdict(m, m.err))
		}
	}
	w.flush()
	return nil
}

// split finds the messages to blame for the failure of unit: those that were marked, or the only one. What is left is tried again;
// without a hint, in halves.
func (w *worker[T]) split(unit []*Message[T], err error) (parts [][]*Message[T]) {
	for _, m := range unit {
		if m.err == nil && len(unit) == 1 {
			m.err = err
		}
		if m.err != nil {
			w.add(m, w.verdict(m, m.err))
		}
	}
	if len(w.out) > 0 {
		w.flush()
		return [][]*Message[T]{unsettled(unit)}
	}
	middle := len(unit) / 2
	return [][]*Message[T]{unit[middle:], unit[:middle]}
}

// sitOut waits for the end of an outage and returns what of unit is to be handled then. One worker at a time probes.
func (w *worker[T]) sitOut(ctx, drain context.Context, unit []*Message[T], err error) []*Message[T] {
	over := w.c.outage.begin(err)
	select {
	case <-over:
		return unit
	case <-drain.Done():
		w.release(unit, err)
		return nil
	case w.c.outage.probe <- struct{}{}:
		defer func() { <-w.c.outage.probe }()
		return w.probe(ctx, drain, unit, over)
	}
}

// probe tries one message at a time, another one each time: should the failure be that message's own, the next one gets through.
func (w *worker[T]) probe(ctx, drain context.Context, unit []*Message[T], over <-chan struct{}) []*Message[T] {
	for n := 1; len(unit) > 0; n++ {
		select {
		case <-over:
			return unit
		case <-drain.Done():
			w.release(unit, nil)
			return nil
		case <-time.After(w.pause(w.c.cfg.QuickTries + n)):
		}
		one := unit[n%len(unit):][:1]
		err := w.call(ctx, one)
		switch {
		case err == nil:
			return unsettled(unit)
		case ctx.Err() != nil:
			w.release(unit, nil)
			return nil
		case w.robbed(&unit): // the rest goes on
		case !w.c.transient(err):
			w.split(one, err)
			unit = unsettled(unit)
		default:
			w.c.outage.goesOn(err)
			if len(unit) == 1 {
				unit = w.decode(w.exchange(unit[0]))
			}
		}
	}
	w.c.outage.end() // nothing left to probe with: the next messages will show
	return nil
}

// exchange gives m back to the queue for another message, if there is one.
func (w *worker[T]) exchange(m *Message[T]) []*Message[T] {
	m.suspect = true
	next := w.c.queue.swap(m)
	if i := slices.Index(w.open, m); i >= 0 {
		w.open[i] = next
	}
	return []*Message[T]{next}
}

// replace settles what a handler left behind that ended its goroutine, and goes on with another one.
func (w *worker[T]) replace(ctx, drain context.Context) {
	w.finish()
	for _, m := range unsettled(w.open) {
		w.add(m, w.verdict(m, errGoexit))
	}
	w.flush()
	w.c.queue.done(w.open)
	w.c.outage.end() // in case it was this one that probed
	w.c.workers.Go(func() { w.run(ctx, drain) })
}

// verdict is what becomes of a message that failed by itself.
func (w *worker[T]) verdict(m *Message[T], err error) Outcome {
	switch {
	case w.c.transient(err):
		return Outcome{Kind: Release, After: w.c.cfg.MaxBackoff, Err: err}
	case isPermanent(err) || m.Attempt >= w.c.cfg.MaxAttempts:
		return Outcome{Kind: Dead, Err: err}
	default:
		return Outcome{Kind: Retry, After: w.pause(m.Attempt), Err: err}
	}
}

// release gives unit back, uncounted.
func (w *worker[T]) release(unit []*Message[T], err error) {
	for _, m := range unit {
		w.add(m, Outcome{Kind: Release, Err: err})
	}
	w.flush()
}

func (w *worker[T]) add(m *Message[T], o Outcome) {
	o.Raw = &m.Raw
	m.settled = true
	w.out = append(w.out, o)
}

func (w *worker[T]) flush() {
	w.c.settle(w.out)
	clear(w.out)
	w.out = w.out[:0]
}

func (w *worker[T]) pause(failures int) time.Duration {
	return backoff.Shorten(backoff.Exponential(failures, w.c.cfg.MinBackoff, w.c.cfg.MaxBackoff), jitter, rand.Float64())
}

func unsettled[T any](unit []*Message[T]) (rest []*Message[T]) {
	for _, m := range unit {
		if !m.settled {
			rest = append(rest, m)
		}
	}
	return rest
}
