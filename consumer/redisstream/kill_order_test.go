package redisstream_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// logForEver handles a message by adding it to the log of its key.
func logForEver(url, stream string, parts int) error {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	src, err := redisstream.New(rdb, exclusive(stream, parts))
	if err != nil {
		return err
	}
	c, err := consumer.New(src, func(ctx context.Context, m *message) error {
		return rdb.RPush(ctx, logOf(stream, redisstream.Key(&m.Raw)), m.Value).Err()
	}, consumer.Config{Logger: quiet, MaxInFlight: 100, Key: redisstream.Key})
	if err != nil {
		return err
	}
	return c.Run(context.Background())
}

func logOf(stream, key string) string { return stream + ":log:" + key }

// Processes that are killed while they hold partitions break no order: a message may be handled again, but none before its predecessor.
func TestExclusive_KeepsTheOrderWhenConsumersAreKilled(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	const parts, keys, step = 4, 8, 50
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: stream, Partitions: parts})
	spawn := func() (kill func()) {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), childURL+"="+testserver.RedisURL(t), childStream+"="+stream, childParts+"="+strconv.Itoa(parts))
		_, err = cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return func() {
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		}
	}
	handled := func(n int) func() bool {
		return func() bool {
			for k := range keys {
				last := rdb.LRange(t.Context(), logOf(stream, strconv.Itoa(k)), -1, -1).Val()
				if len(last) == 0 {
					return false
				}
				if at, err := strconv.Atoi(last[0]); err != nil || at < n-1 {
					return false
				}
			}
			return true
		}
	}
	kills := [2]func(){spawn(), spawn()}
	cycles := testserver.Times(2, 40)
	sequences(t, p, keys, 0, step-1)
	require.Eventually(t, handled(step), patience, 5*time.Millisecond)
	for cycle := range cycles {
		sequences(t, p, keys, (cycle+1)*step, (cycle+2)*step-1)
		kills[cycle%2]()
		kills[cycle%2] = spawn()
		require.Eventually(t, handled((cycle+2)*step), patience, 5*time.Millisecond)
	}
	kills[0]()
	kills[1]()
	for k := range keys {
		next := 0
		for _, s := range rdb.LRange(t.Context(), logOf(stream, strconv.Itoa(k)), 0, -1).Val() {
			n, err := strconv.Atoi(s)
			require.NoError(t, err)
			require.LessOrEqual(t, n, next, "key %d: it came before its predecessor", k)
			next = max(next, n+1)
		}
		require.Equal(t, (cycles+1)*step, next)
	}
}
