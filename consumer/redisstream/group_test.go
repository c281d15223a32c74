package redisstream_test

import (
	"context"
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

func TestSource_GroupIsMadeAgain(t *testing.T) {
	tests := map[string]struct {
		lose func(t *testing.T, rdb *redis.Client, stream string)
		want int // from which payload on the stream goes on
		gaps int64
	}{
		"destroyed": {func(t *testing.T, rdb *redis.Client, stream string) {
			t.Helper()
			require.NoError(t, rdb.XGroupDestroy(t.Context(), stream, "group").Err())
		}, 1, 0},
		"flushed": {func(t *testing.T, rdb *redis.Client, _ string) {
			t.Helper()
			require.NoError(t, rdb.FlushAll(t.Context()).Err())
		}, 101, 1},
		"flushed, and older ids": {func(t *testing.T, rdb *redis.Client, stream string) {
			t.Helper()
			pipe := rdb.TxPipeline()
			pipe.FlushAll(t.Context())
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: "1-1", Values: []any{"payload", "101"}})
			_, err := pipe.Exec(t.Context())
			require.NoError(t, err)
		}, 101, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := client(t, testserver.StartRedis(t, testserver.RedisConfig{}).URL())
			const stream = "s"
			publish(t, rdb, stream, 1, 100)
			logger, written := logs()
			cfg := config(stream)
			cfg.Logger = logger
			var seen tally
			release := make(chan struct{})
			c, _ := start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
				if seen.add(m); string(m.Value) == "50" {
					<-release
				}
				return nil
			})
			seen.has(t, 1, 100)
			tt.lose(t, rdb, stream)
			before := commands(t, rdb)
			<-time.After(300 * time.Millisecond)
			require.Less(t, commands(t, rdb)-before, 100, "a hot loop")
			close(release)
			publish(t, rdb, stream, 102, 200)
			if name != "flushed, and older ids" {
				publish(t, rdb, stream, 101, 101)
			}
			seen.has(t, 1, 200)
			drained(t, rdb, stream)
			if tt.want == 1 {
				require.Greater(t, seen.count("50"), 1, "what wasn't settled is delivered again")
			}
			require.Equal(t, 1, strings.Count(written(), "made again"))
			require.Equal(t, tt.gaps, c.Stats().Gaps, "%+v", c.Stats().LastGap)
		})
	}
}

// Made again at the lowest id that isn't known to be settled, less two leases.
func TestSource_GroupBeginsWhereItIsSafe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind consumer.Kind // of the second entry; that of Dead stands for none
		want []string
	}{
		"held":    {consumer.Dead, []string{"2", "3", "4"}},
		"parked":  {consumer.Retry, []string{"2", "3", "4"}},
		"settled": {consumer.Ack, []string{"3", "4"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, stream := shared(t)
			for i, id := range []string{"1000000-0", "2000000-0", "8900000-0", "9000000-0"} {
				require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: id, Values: []any{"payload", i + 1}}).Err())
			}
			src, err := redisstream.New(rdb, config(stream))
			require.NoError(t, err)
			raws, err := src.Receive(t.Context(), consumer.Credit{Count: 10, Bytes: 1000})
			require.NoError(t, err)
			for i := range raws {
				o := consumer.Outcome{Raw: &raws[i]}
				if i == 1 {
					o.Kind, o.After = tt.kind, time.Minute
				}
				if o.Kind != consumer.Dead {
					require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{o}))
				}
			}
			require.NoError(t, rdb.XGroupDestroy(t.Context(), stream, "group").Err())
			_, err = src.Receive(t.Context(), consumer.Credit{Count: 10, Bytes: 1000})
			require.ErrorContains(t, err, "NOGROUP")
			raws, err = src.Receive(t.Context(), consumer.Credit{Count: 10, Bytes: 1000})
			require.NoError(t, err)
			var payloads []string
			for _, raw := range raws {
				payloads = append(payloads, string(raw.Payload))
			}
			require.Equal(t, tt.want, payloads)
			require.NoError(t, src.Close(t.Context()))
		})
	}
}

// commands is how many the server has processed.
func commands(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	info, err := rdb.InfoMap(t.Context(), "stats").Result()
	require.NoError(t, err)
	n, err := strconv.Atoi(info["Stats"]["total_commands_processed"])
	require.NoError(t, err)
	return n
}

func logs() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var b strings.Builder
	return slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return b.Write(p)
		}), nil)), func() string {
			mu.Lock()
			defer mu.Unlock()
			return b.String()
		}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
