package consumer

import (
	"context"
	"errors"
	"sync"
	"time"
)

// lagEvery is how old the lag in Stats gets.
const lagEvery = 10 * time.Second

// startUpkeep extends leases and measures the lag, each if the source can, until the function that it returns is called.
func (c *Consumer[T]) startUpkeep(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if l, ok := c.src.(Leaser); ok {
		running.Go(func() { c.extendLeases(ctx, l) })
	}
	if l, ok := c.src.(Lagger); ok {
		running.Go(func() { c.measureLag(ctx, l) })
	}
	return func() error {
		cancel()
		if !all(time.After(grace/2), ended(&running)) {
			return errors.New("consumer: the source's Extend or Lag ignores its context and still runs")
		}
		return nil
	}
}

func (c *Consumer[T]) extendLeases(ctx context.Context, source Leaser) {
	extend := func() (lost []string, err error) {
		defer recovered(&err)
		return source.Extend(ctx)
	}
	trouble := episode{log: c.log, what: "extend leases"}
	for sleep(ctx, source.Lease()/3) {
		lost, err := extend()
		for err != nil && trouble.wait(ctx, err) {
			lost, err = extend()
		}
		if err == nil {
			trouble.over()
		}
		if len(lost) > 0 {
			c.tally.leasesLost.Add(uint64(len(lost)))
			c.robbed(lost)
			c.log.Warn("consumer: somebody else was given messages that are still held here: their handlers are cancelled", "count", len(lost), "messages", list(lost))
		}
	}
}

func (c *Consumer[T]) measureLag(ctx context.Context, source Lagger) {
	measure := func() (lag int64, err error) {
		defer recovered(&err)
		return source.Lag(ctx)
	}
	for ok := true; ok; ok = sleep(ctx, lagEvery) {
		lag, err := measure()
		if err != nil {
			lag = -1
		}
		c.tally.lag.Store(max(-1, lag))
	}
}
