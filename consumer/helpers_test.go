package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

var (
	errMessage = errors.New("this message is wrong")
	errDown    = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
)

// runner is what all consumers are, whatever their type.
type runner interface {
	Run(ctx context.Context) error
	Stats() consumer.Stats
}

// start runs c until stop is called, or the test ends.
func start(t *testing.T, c runner) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// single makes a consumer of strings that handles one message at a time.
func single(t *testing.T, src consumer.Source, cfg consumer.Config, handle func(ctx context.Context, m *consumer.Message[[]byte]) error) *consumer.Consumer[[]byte] {
	t.Helper()
	quiet(&cfg)
	c, err := consumer.New(src, handle, cfg)
	require.NoError(t, err)
	return c
}

func batches(t *testing.T, src consumer.Source, cfg consumer.Config, handle func(ctx context.Context, batch []*consumer.Message[[]byte]) error) *consumer.Consumer[[]byte] {
	t.Helper()
	quiet(&cfg)
	c, err := consumer.NewBatch(src, handle, cfg)
	require.NoError(t, err)
	return c
}

func quiet(cfg *consumer.Config) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// pass lets fake time go by.
func pass(d time.Duration) { <-time.After(d) }

// settled waits until src has nothing left, for an hour of fake time at most.
func settled(t *testing.T, src *consumertest.Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	require.NoError(t, src.Wait(ctx))
}

// journal collects what happens on several goroutines.
type journal[E any] struct {
	mu      sync.Mutex
	entries []E
}

func (j *journal[E]) add(e E) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
}

func (j *journal[E]) all() []E {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]E(nil), j.entries...)
}

// logs is a logger and what it has written.
func logs() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	w := writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	})
	return slog.New(slog.NewTextHandler(w, nil)), func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
