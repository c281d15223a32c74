//go:build unix

package bench_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmredis "github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

// BenchmarkStream_Peers does with others what BenchmarkStream_Raw does: at least once, from a Redis, and nothing is done with a message.
func BenchmarkStream_Peers(b *testing.B) {
	b.Run("watermill-redisstream", drainWatermill)
	b.Run("asynq", drainAsynq)
	b.Run("river", drainRiver)
}

func drainWatermill(b *testing.B) {
	rdb := streamClient(b)
	topic := fmt.Sprintf("bench:watermill:%d", time.Now().UnixNano())
	b.Cleanup(func() { require.NoError(b, rdb.Del(context.Background(), topic).Err()) })
	pub, err := wmredis.NewPublisher(wmredis.PublisherConfig{Client: rdb}, watermill.NopLogger{})
	require.NoError(b, err)
	payload := []byte(strings.Repeat("x", 200))
	for range b.N {
		require.NoError(b, pub.Publish(topic, message.NewMessage(watermill.NewShortUUID(), payload)))
	}
	own := redis.NewClient(rdb.Options()) // which the subscriber closes
	sub, err := wmredis.NewSubscriber(wmredis.SubscriberConfig{Client: own, ConsumerGroup: "bench", OldestId: "0"}, watermill.NopLogger{})
	require.NoError(b, err)
	before := startClock(b)
	messages, err := sub.Subscribe(b.Context(), topic)
	require.NoError(b, err)
	for range b.N {
		(<-messages).Ack()
	}
	require.Eventually(b, func() bool {
		p, err := rdb.XPending(b.Context(), topic, "bench").Result()
		return err == nil && p.Count == 0
	}, 10*time.Second, time.Millisecond)
	finish(b, before)
	require.NoError(b, sub.Close())
}

func drainAsynq(b *testing.B) {
	opt, err := redis.ParseURL(testserver.RedisURL(b))
	require.NoError(b, err)
	conn := asynq.RedisClientOpt{Addr: opt.Addr, DB: 1}
	client := asynq.NewClient(conn)
	b.Cleanup(func() { require.NoError(b, client.Close()) })
	payload := []byte(strings.Repeat("x", 200))
	for range b.N {
		_, err := client.EnqueueContext(b.Context(), asynq.NewTask("bench", payload))
		require.NoError(b, err)
	}
	server := asynq.NewServer(conn, asynq.Config{Concurrency: 8, LogLevel: asynq.FatalLevel})
	seen := newCounter(b.N)
	before := startClock(b)
	require.NoError(b, server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		seen.add(1)
		return nil
	})))
	<-seen.done
	finish(b, before)
	server.Shutdown()
}
