package redispubsub_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redispubsub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// patience is how long a test waits for what should happen within moments.
const patience = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

func client(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, ReadTimeout: 500 * time.Millisecond})
	tb.Cleanup(func() { require.NoError(tb, rdb.Close()) })
	return rdb
}

// shared is a client of the shared server, and a name that nobody else uses.
func shared(tb testing.TB) (rdb *redis.Client, name string) {
	tb.Helper()
	opt, err := redis.ParseURL(testserver.RedisURL(tb))
	require.NoError(tb, err)
	return client(tb, opt.Addr), "pubsub:" + tb.Name() + ":" + strconv.FormatUint(rand.Uint64(), 36)
}

func config(channel string) redispubsub.Config {
	return redispubsub.Config{Channels: []string{channel}, Logger: quiet, Ping: 100 * time.Millisecond, Timeout: time.Second}
}

// listen returns a source that is subscribed, and to be received from by the test.
func listen(t *testing.T, rdb redis.UniversalClient, cfg redispubsub.Config) *redispubsub.Source {
	t.Helper()
	src, err := redispubsub.New(rdb, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close(context.Background())) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	eventually(t, func() bool { return src.Stats().Node != "" })
	return src
}

// receive returns the next n payloads.
func receive(t *testing.T, src *redispubsub.Source, n int) (raws []consumer.Raw) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(raws) < n {
		more, err := src.Receive(ctx, consumer.Credit{Count: n - len(raws), Bytes: 1 << 20})
		require.NoError(t, err)
		raws = append(raws, more...)
	}
	return raws
}

func payloads(raws []consumer.Raw) (all []string) {
	for _, r := range raws {
		all = append(all, string(r.Payload))
	}
	return all
}

func publish(t *testing.T, rdb redis.UniversalClient, channel string, payloads ...string) {
	t.Helper()
	pipe := rdb.Pipeline()
	for _, p := range payloads {
		pipe.Publish(t.Context(), channel, p)
	}
	_, err := pipe.Exec(t.Context())
	require.NoError(t, err)
}

// beat is one of an instance that may say in which of its lives it is.
func beat(instance, run string, count int) string {
	upbeat := ""
	if run != "" {
		upbeat = fmt.Sprintf(`,"upbeat":{"v":1,"run":%q}`, run)
	}
	return fmt.Sprintf(`{"service_name":"api","instance_id":%q,"timestamp":"now","heartbeat_count":%d%s}`, instance, count, upbeat)
}

func numbered(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

func eventually(tb testing.TB, condition func() bool) {
	tb.Helper()
	require.Eventually(tb, condition, patience, 2*time.Millisecond)
}

// run runs f until stop is called, or the test ends.
func run(t *testing.T, f func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}
