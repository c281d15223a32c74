package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/pool"
)

// inProcess runs the consumer of a world in this process, with something around its handler, until stop is called.
func (w *world) inProcess(mw consumer.Middleware) (in *ingest, stop func() error) {
	w.t.Helper()
	opts, err := parseOptions([]string{"-stream", w.stream, "-database", w.dsn, "-lease", "1s", "-backoff", "20ms", "-timeout", "300ms"}, func(string) string { return "" })
	require.NoError(w.t, err)
	opts.redis = pool.Config{URL: w.redisURL, Profile: pool.Worker(), Logger: slog.New(slog.DiscardHandler)}
	in, err = open(w.t.Context(), opts, mw)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.run(ctx) }()
	w.t.Cleanup(cancel)
	return in, func() error {
		cancel()
		defer in.close()
		return <-done
	}
}

func (w *world) handled(in *ingest) {
	w.t.Helper()
	w.await("for all to be handled", func() bool {
		waiting, _ := w.backlog()
		return waiting == 0 && in.consumer.Stats().InFlight == 0
	})
}

// A message that makes the handler panic dies alone, and its letter says where.
func TestHandler_Panics(t *testing.T) {
	t.Parallel()
	w := shared(t)
	poison := beat(777)
	w.sendBeats(2000)
	in, stop := w.inProcess(func(ctx context.Context, call *consumer.Call, next func(context.Context) error) error {
		for _, m := range call.Messages {
			if bytes.Equal(m.Payload, poison) {
				panic("poison")
			}
		}
		return next(ctx)
	})
	w.handled(in)
	require.NoError(t, stop())
	require.Equal(t, 1, w.complete())
	for id, service := range w.stored() {
		if service != deadService {
			continue
		}
		var l letter
		require.NoError(t, json.Unmarshal([]byte(w.dead("show", id)), &l))
		require.Equal(t, "panic: poison", l.Reason)
		require.Equal(t, 5, l.Attempts)
		require.Contains(t, l.Stack, "TestHandler_Panics")
		require.Equal(t, poison, l.payload())
	}
}

// A handler that hangs until its time is over has done nothing wrong to the messages.
func TestHandler_Hangs(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.sendBeats(2000)
	var calls atomic.Int64
	in, stop := w.inProcess(func(ctx context.Context, _ *consumer.Call, next func(context.Context) error) error {
		if calls.Add(1)%2 == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return next(ctx)
	})
	w.handled(in)
	require.NoError(t, stop())
	require.Zero(t, w.complete())
	require.Greater(t, calls.Load(), int64(1))
}

// One that ignores its context holds nothing up but what it has: its messages go to the next process, and are stored once even if it does its
// work in the end.
func TestHandler_IgnoresItsContext(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.sendBeats(2000)
	released, first := make(chan struct{}), make(chan struct{})
	late := make(chan error, 1)
	var calls atomic.Int64
	in, stop := w.inProcess(func(ctx context.Context, _ *consumer.Call, next func(context.Context) error) error {
		if calls.Add(1) > 1 {
			return next(ctx)
		}
		close(first)
		<-released
		err := next(context.WithoutCancel(ctx))
		late <- err
		return err
	})
	<-first
	w.await("for the others to go on", func() bool { return in.consumer.Stats().MessageCount > 0 })
	p := w.start() // before the other one is told to stop: its drain timeout doesn't wait for a process to begin
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		require.Fail(t, "it ended without its handler", "%v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(released)
	require.NoError(t, <-late)
	require.NoError(t, <-stopped)
	w.drained(p)
	require.Zero(t, w.complete())
	p.stop()
}
