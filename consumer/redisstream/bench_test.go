package redisstream_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

// fill publishes n entries of 200 bytes.
func fill(b *testing.B, rdb *redis.Client, stream string, n int) {
	b.Helper()
	payload := strings.Repeat("x", 200)
	for n > 0 {
		pipe := rdb.Pipeline()
		for range min(n, 1000) {
			pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", payload}})
		}
		_, err := pipe.Exec(b.Context())
		require.NoError(b, err)
		n -= min(n, 1000)
	}
}

// A handler that does nothing: what the consumer itself costs.
func BenchmarkConsumer_NoOp(b *testing.B) {
	rdb, stream := shared(b)
	fill(b, rdb, stream, b.N)
	src, err := redisstream.New(rdb, config(stream))
	require.NoError(b, err)
	var handled atomic.Int64
	ctx, cancel := context.WithCancel(b.Context())
	c, err := consumer.New(src, func(context.Context, *consumer.Message[[]byte]) error {
		if handled.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	}, consumer.Config{Logger: quiet})
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, c.Run(ctx))
	report(b, rdb, stream)
}

func BenchmarkConsumer_NoOpBatch(b *testing.B) {
	rdb, stream := shared(b)
	fill(b, rdb, stream, b.N)
	src, err := redisstream.New(rdb, config(stream))
	require.NoError(b, err)
	var handled atomic.Int64
	ctx, cancel := context.WithCancel(b.Context())
	c, err := consumer.NewBatch(src, func(_ context.Context, batch []*consumer.Message[[]byte]) error {
		if handled.Add(int64(len(batch))) == int64(b.N) {
			cancel()
		}
		return nil
	}, consumer.Config{Logger: quiet})
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, c.Run(ctx))
	report(b, rdb, stream)
}

// The least that anybody could do by hand: read a thousand, ack a thousand.
func BenchmarkBareLoop(b *testing.B) {
	rdb, stream := shared(b)
	fill(b, rdb, stream, b.N)
	require.NoError(b, rdb.XGroupCreate(b.Context(), stream, "group", "0").Err())
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		read, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{
			Group: "group", Consumer: "bare", Streams: []string{stream, ">"}, Count: 1000, Block: -1,
		}).Result()
		require.NoError(b, err)
		ids := make([]string, 0, 1000)
		for _, m := range read[0].Messages {
			ids = append(ids, m.ID)
		}
		require.NoError(b, rdb.XAck(b.Context(), stream, "group", ids...).Err())
		left -= len(ids)
	}
	report(b, rdb, stream)
}

func report(b *testing.B, rdb *redis.Client, stream string) {
	b.Helper()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	p, err := rdb.XPending(b.Context(), stream, "group").Result()
	require.NoError(b, err)
	require.Zero(b, p.Count)
	require.NoError(b, rdb.Del(b.Context(), stream).Err())
}
