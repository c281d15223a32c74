//go:build unix

package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// streamed is a payload of some 200 bytes.
type streamed struct {
	ID      int       `json:"id"`
	Name    string    `json:"name"`
	Service string    `json:"service"`
	Count   uint64    `json:"count"`
	CPU     float64   `json:"cpu"`
	At      time.Time `json:"at"`
}

// BenchmarkStream_Raw reads a stream whose messages nobody looks at: what reading and acking costs.
func BenchmarkStream_Raw(b *testing.B) {
	handle := func(seen *counter) func(context.Context, []*consumer.Message[[]byte]) error {
		return func(_ context.Context, batch []*consumer.Message[[]byte]) error {
			seen.add(len(batch))
			return nil
		}
	}
	b.Run("upbeat", func(b *testing.B) { drain(b, redisstream.Config{}, consumer.Config{}, handle) })
	b.Run("upbeat-keyed", func(b *testing.B) { drain(b, redisstream.Config{}, consumer.Config{Key: redisstream.Key}, handle) })
	b.Run("upbeat-exclusive", func(b *testing.B) {
		drain(b, redisstream.Config{Exclusive: true}, consumer.Config{Key: redisstream.Key}, handle)
	})
	b.Run("bare", func(b *testing.B) {
		bare(b, func([]redis.XMessage) error { return nil })
	})
}

// BenchmarkStream_JSON decodes each payload.
func BenchmarkStream_JSON(b *testing.B) {
	b.Run("upbeat", func(b *testing.B) {
		drain(b, redisstream.Config{}, consumer.Config{}, func(seen *counter) func(context.Context, []*consumer.Message[streamed]) error {
			return func(_ context.Context, batch []*consumer.Message[streamed]) error {
				seen.add(len(batch))
				return nil
			}
		})
	})
	b.Run("bare", func(b *testing.B) {
		bare(b, func(batch []redis.XMessage) error {
			for _, m := range batch {
				payload, _ := m.Values["payload"].(string)
				var v streamed
				if err := json.Unmarshal([]byte(payload), &v); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// counter closes done when all were seen.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func newCounter(n int) *counter {
	c := &counter{done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *counter) add(n int) {
	if c.left.Add(-int64(n)) == 0 {
		close(c.done)
	}
}

// streamOf makes a stream of b.N messages, of a thousand keys.
func streamOf(b *testing.B) (rdb *redis.Client, stream string) {
	b.Helper()
	rdb = streamClient(b)
	stream = fmt.Sprintf("bench:%s:%d", b.Name(), time.Now().UnixNano())
	p, err := redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: stream})
	require.NoError(b, err)
	msgs := make([]redisstream.Outgoing, 0, 1000)
	for i := range b.N {
		payload, err := json.Marshal(streamed{ID: i, Name: "the name of something that is a little longer", Service: "tracker_fetcher", Count: 12345, CPU: 3.25, At: time.Now()})
		require.NoError(b, err)
		if msgs = append(msgs, redisstream.Outgoing{Key: strconv.Itoa(i % 1000), Payload: payload}); len(msgs) == cap(msgs) || i == b.N-1 {
			_, err = p.Send(b.Context(), msgs...)
			require.NoError(b, err)
			msgs = msgs[:0]
		}
	}
	b.Cleanup(func() { require.NoError(b, rdb.Del(context.Background(), stream).Err()) })
	return rdb, stream
}

func streamClient(b *testing.B) *redis.Client {
	b.Helper()
	opt, err := redis.ParseURL(testserver.RedisURL(b))
	require.NoError(b, err)
	rdb := redis.NewClient(opt)
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })
	return rdb
}

// drain handles a stream until all is acked.
func drain[T any](
	b *testing.B, scfg redisstream.Config, ccfg consumer.Config, handler func(*counter) func(context.Context, []*consumer.Message[T]) error,
) {
	b.Helper()
	rdb, stream := streamOf(b)
	quiet := slog.New(slog.DiscardHandler)
	scfg.Streams, scfg.Group, scfg.Logger, ccfg.Logger = []string{stream}, "bench", quiet, quiet
	src, err := redisstream.New(rdb, scfg)
	require.NoError(b, err)
	seen := newCounter(b.N)
	c, err := consumer.NewBatch(src, handler(seen), ccfg)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	before := startClock(b)
	go func() { ended <- c.Run(ctx) }()
	<-seen.done
	cancel()
	require.NoError(b, <-ended)
	settled(b, rdb, stream, before)
}

// bare is the least that anybody could do by hand: read a thousand, ack a thousand.
func bare(b *testing.B, handle func([]redis.XMessage) error) {
	b.Helper()
	rdb, stream := streamOf(b)
	before := startClock(b)
	require.NoError(b, rdb.XGroupCreate(b.Context(), stream, "bench", "0").Err())
	for left := b.N; left > 0; {
		read, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{
			Group: "bench", Consumer: "bare", Streams: []string{stream, ">"}, Count: 1000, Block: -1,
		}).Result()
		require.NoError(b, err)
		require.NoError(b, handle(read[0].Messages))
		ids := make([]string, 0, 1000)
		for _, m := range read[0].Messages {
			ids = append(ids, m.ID)
		}
		require.NoError(b, rdb.XAck(b.Context(), stream, "bench", ids...).Err())
		left -= len(ids)
	}
	settled(b, rdb, stream, before)
}

func startClock(b *testing.B) (processor time.Duration) {
	b.Helper()
	runtime.GC() // of what filled the stream
	b.ReportAllocs()
	b.ResetTimer()
	return processorTime(b)
}

// finish stops the clock. cpu-ns/op is processor time of this process; the rest is Redis.
func finish(b *testing.B, before time.Duration) {
	b.Helper()
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// settled is finish, and looks whether the work was done.
func settled(b *testing.B, rdb *redis.Client, stream string, before time.Duration) {
	b.Helper()
	finish(b, before)
	p, err := rdb.XPending(b.Context(), stream, "bench").Result()
	require.NoError(b, err)
	require.Zero(b, p.Count)
}
