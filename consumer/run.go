package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What Run may take after DrainTimeout, for each step: together these are the ten seconds that Config promises.
const (
	grace        = 2 * time.Second // for what was cancelled to notice
	flushTimeout = 5 * time.Second // for outcomes to be stored
	closeTimeout = time.Second     // for the source to let go
)

// ErrDrainTimeout is the cause with which the contexts of handlers end that were still running DrainTimeout after Run's own
// context had ended. Run returns it if there were any.
var ErrDrainTimeout = errors.New("consumer: handlers were still running after the drain timeout")

// Run consumes until ctx ends, and then drains: intake stops, messages that wait are given back uncounted, handlers that run are
// waited for until Config.DrainTimeout, and all outcomes are settled. It returns nil if that went well.
//
// Otherwise the error says what didn't: handlers that had to be cancelled ([ErrDrainTimeout]), functions that ignore their context and
// still run, or outcomes that could not be stored. In each of these cases the messages in question are delivered again.
//
// Run blocks and may be called once. Apart from what its error names, nothing runs any more when it has returned.
func (c *Consumer[T]) Run(ctx context.Context) error {
	if !c.tally.begin() {
		return errors.New("consumer: Run was called before")
	}
	defer c.tally.finish()
	if c.cfg.Disabled {
		c.log.Info("consumer: disabled by Config.Disabled")
		<-ctx.Done()
		return nil
	}
	handling, cancelHandlers := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelHandlers(nil)
	settling, cancelSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSettling()

	var readers sync.WaitGroup
	for range c.readers() {
		readers.Go(func() { c.read(ctx) })
	}
	c.openCrew(func(w *worker[T]) { c.workers.Go(func() { w.run(handling, ctx) }) })
	settle := c.startSettling(settling, cancelSettling)
	stopUpkeep := c.startUpkeep(settling)

	<-ctx.Done()
	c.closeCrew()
	c.deaths.close()
	c.budget.close()
	c.giveBack(c.queue.close())
	return errors.Join(c.drain(&readers, cancelHandlers), settle(), stopUpkeep(), c.closeSource(ctx))
}

// drain waits for handlers and readers, cancels the handlers that take too long, and names those that ignore even that.
func (c *Consumer[T]) drain(readers *sync.WaitGroup, cancel context.CancelCauseFunc) (err error) {
	reading, working := ended(readers), ended(&c.workers)
	if patience := time.After(c.cfg.DrainTimeout); !all(patience, working, reading) {
		if cancelled := c.handling(); len(cancelled) > 0 {
			err = fmt.Errorf("%w (%v): messages %s", ErrDrainTimeout, c.cfg.DrainTimeout, list(cancelled))
		}
		cancel(ErrDrainTimeout)
	}
	if all(time.After(grace), working, reading) {
		return err
	}
	if deaf := c.handling(); len(deaf) > 0 {
		err = errors.Join(err, fmt.Errorf("consumer: handlers that ignore their context still run: messages %s", list(deaf)))
	}
	if !isClosed(reading) {
		err = errors.Join(err, errors.New("consumer: the source's Receive ignores its context and still runs"))
	}
	return err
}

// startSettling returns a function that waits until all outcomes are stored, or cancels that in the end.
func (c *Consumer[T]) startSettling(ctx context.Context, cancel func()) (finish func() error) {
	var unsettled atomic.Int64
	begin := func(s *settler) (done <-chan struct{}) {
		var running sync.WaitGroup
		running.Go(func() { unsettled.Add(int64(s.run(ctx))) })
		return ended(&running)
	}
	burying, settling := begin(c.graves), begin(c.settler)
	return func() error {
		defer time.AfterFunc(flushTimeout, cancel).Stop()
		expired := time.After(flushTimeout + grace/2)
		c.graves.close()
		if !all(expired, burying) {
			return errors.New("consumer: Config.DeadLetter, or the source's Settle, ignores its context and still runs")
		}
		c.settler.close()
		if !all(expired, settling) {
			return errors.New("consumer: the source's Settle ignores its context and still runs")
		}
		if n := unsettled.Load(); n > 0 {
			return fmt.Errorf("consumer: outcomes of %d messages could not be stored in %v: they will be delivered again", n, flushTimeout)
		}
		return nil
	}
}

// closeSource waits for Close.
func (c *Consumer[T]) closeSource(ctx context.Context) error {
	closer, ok := c.src.(Closer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	var err error
	var closing sync.WaitGroup
	closing.Go(func() {
		defer recovered(&err)
		err = closer.Close(ctx)
	})
	if !all(time.After(closeTimeout+grace/2), ended(&closing)) {
		return errors.New("consumer: the source's Close ignores its context and still runs")
	}
	return err
}

// handling returns the IDs of the messages that are with handlers, for a batch the first one.
func (c *Consumer[T]) handling() (ids []string) {
	for _, w := range c.crew.all() {
		if id := w.atWork(); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// list is for an error that is to stay readable.
func list(ids []string) string {
	const most = 8
	if len(ids) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
	}
	return strings.Join(ids, ", ")
}

// ended returns a channel that is closed when wg is done.
func ended(wg *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

// all waits for all of done. It reports false if expired fires first.
func all(expired <-chan time.Time, done ...<-chan struct{}) bool {
	for _, d := range done {
		select {
		case <-d:
		case <-expired:
			return false
		}
	}
	return true
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
