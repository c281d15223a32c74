package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/pool"
)

// ingest is all that runs while messages are stored.
type ingest struct {
	opts     options
	clients  *pool.Clients
	db       database
	consumer *consumer.Consumer[health]
}

// serve stores messages until ctx ends, and returns the exit status.
func serve(ctx context.Context, opts options) (code int, err error) {
	in, err := open(ctx, opts)
	if err != nil {
		return 2, err
	}
	defer in.close()
	if opts.listen != "" {
		closeListener, err := in.listen(ctx)
		if err != nil {
			return 2, err
		}
		defer closeListener()
	}
	if err := in.run(ctx); err != nil {
		return 1, err
	}
	return 0, nil
}

// open connects to both servers and prepares the consumer. After an error nothing is left open. The middleware surrounds the handler.
func open(ctx context.Context, opts options, mw ...consumer.Middleware) (_ *ingest, err error) {
	in := &ingest{opts: opts}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if in.clients, err = pool.Open(ctx, opts.redis); err != nil {
		return nil, err
	}
	if in.db, err = openDatabase(ctx, opts.database); err != nil {
		return nil, err
	}
	if err = in.db.Migrate(ctx); err != nil {
		return nil, err
	}
	src, err := redisstream.New(in.clients.Standard(), redisstream.Config{
		Streams: []string{opts.stream}, Group: opts.group, Consumer: opts.consumer, Lease: opts.lease,
	})
	if err != nil {
		return nil, err
	}
	// A connection that nobody answers on would hold a handler for ever: the consumer sets no deadline, so this does.
	mw = append([]consumer.Middleware{consumer.Timeout(opts.timeout)}, mw...)
	in.consumer, err = consumer.NewBatch(src, consumer.ChainBatch(in.handle, mw...), consumer.Config{
		Decode: decode, DeadLetter: in.keep, MinBackoff: opts.backoff,
	})
	return in, err
}

func (in *ingest) close() {
	if in.clients != nil {
		_ = in.clients.Close()
	}
	if in.db != nil {
		in.db.Close()
	}
}

// run stores messages until ctx ends, and then drains.
func (in *ingest) run(ctx context.Context) (err error) {
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { _ = in.clients.Run(keeping) }) // watches the connections
	wg.Go(func() { every(keeping, time.Hour, "maintain the database", in.db.Maintain) })
	wg.Go(func() { every(keeping, time.Minute, "trim the stream", in.trim) })
	err = in.consumer.Run(ctx)
	stop()
	wg.Wait()
	return err
}

// trim removes what every group of the stream has done, so that it is as long as its backlog.
func (in *ingest) trim(ctx context.Context) error {
	_, err := redisstream.Trim(ctx, in.clients.Standard(), in.opts.stream, 0)
	return err
}

// every does something at once and then again and again until ctx ends. The next time makes up for one that failed.
func every(ctx context.Context, period time.Duration, what string, do func(context.Context) error) {
	for tick := time.Tick(period); ; {
		if err := do(ctx); err != nil && !errors.Is(err, context.Canceled) {
			slog.Warn("ingest: could not "+what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}
