package redisstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// patience is how long a test waits for what should happen within moments.
const patience = 20 * time.Second

type message = consumer.Message[[]byte]

var quiet = slog.New(slog.DiscardHandler)

// client is one of the test's own.
func client(tb testing.TB, url string) *redis.Client {
	tb.Helper()
	opt, err := redis.ParseURL(url)
	require.NoError(tb, err)
	rdb := redis.NewClient(opt)
	tb.Cleanup(func() { require.NoError(tb, rdb.Close()) })
	return rdb
}

// shared is a client of the shared server, and a stream that nobody else uses.
func shared(tb testing.TB) (rdb *redis.Client, stream string) {
	tb.Helper()
	return client(tb, testserver.RedisURL(tb)), fmt.Sprintf("test:%s:%d", tb.Name(), time.Now().UnixNano())
}

// private is a client of a server that only this test uses.
func private(t *testing.T) *redis.Client {
	t.Helper()
	return client(t, testserver.StartRedis(t, testserver.RedisConfig{}).URL())
}

func config(stream string) redisstream.Config {
	return redisstream.Config{Streams: []string{stream}, Group: "group", Logger: quiet}
}

// publish adds the payloads from first to last, in decimal.
func publish(t *testing.T, rdb redis.UniversalClient, stream string, first, last int) (ids []string) {
	t.Helper()
	pipe := rdb.Pipeline()
	for i := first; i <= last; i++ {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", strconv.Itoa(i), "kind", "test"}})
	}
	cmds, err := pipe.Exec(t.Context())
	require.NoError(t, err)
	for _, cmd := range cmds {
		ids = append(ids, cmd.(*redis.StringCmd).Val())
	}
	return ids
}

// start runs a consumer until stop is called, or the test ends.
func start(
	t *testing.T, rdb redis.UniversalClient, scfg redisstream.Config, ccfg consumer.Config, handle func(context.Context, *message) error,
) (c *consumer.Consumer[[]byte], stop func() error) {
	t.Helper()
	src, err := redisstream.New(rdb, scfg)
	require.NoError(t, err)
	if ccfg.Logger == nil {
		ccfg.Logger = quiet
	}
	c, err = consumer.New(src, handle, ccfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return c, stop
}

// tally counts how often each payload was handled.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *tally) add(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[string(m.Value)]++
}

func (c *tally) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func (c *tally) count(payload string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[payload]
}

// total is the number of deliveries.
func (c *tally) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, times := range c.seen {
		n += times
	}
	return n
}

// has waits until exactly the payloads from first to last were handled.
func (c *tally) has(t *testing.T, first, last int) {
	t.Helper()
	require.Eventually(t, func() bool { return c.len() >= last-first+1 }, patience, 5*time.Millisecond)
	require.Equal(t, last-first+1, c.len())
	for i := first; i <= last; i++ {
		require.NotZero(t, c.count(strconv.Itoa(i)), "%d was lost", i)
	}
}

// drained waits until nothing is pending in the group.
func drained(t *testing.T, rdb redis.UniversalClient, stream string) {
	t.Helper()
	require.Eventually(t, func() bool { return pending(t, rdb, stream) == 0 }, patience, 5*time.Millisecond)
}

func pending(t *testing.T, rdb redis.UniversalClient, stream string) int64 {
	t.Helper()
	p, err := rdb.XPending(t.Context(), stream, "group").Result()
	require.NoError(t, err)
	return p.Count
}

func groupNames(t *testing.T, rdb redis.UniversalClient, stream string) string {
	t.Helper()
	consumers, err := rdb.XInfoConsumers(t.Context(), stream, "group").Result()
	require.NoError(t, err)
	var names []string
	for _, c := range consumers {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}
