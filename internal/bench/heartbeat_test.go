package bench_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// BenchmarkBeat is one beat over a real connection: PUBLISH, SET and XADD in one trip.
func BenchmarkBeat(b *testing.B) {
	opts, err := redis.ParseURL(testserver.RedisURL(b))
	require.NoError(b, err)
	rdb := redis.NewClient(opts)
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })

	beats := func(cfg heartbeat.Config) func(b *testing.B) {
		cfg.Stream, cfg.StreamMaxLen = "bench:beats", 1000
		return func(b *testing.B) {
			b.Helper()
			pub, err := heartbeat.NewPublisher(rdb, "bench", cfg)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, pub.Beat(b.Context()))
			}
		}
	}
	b.Run("upbeat", beats(heartbeat.Config{NoUsage: true}))
	b.Run("upbeat and what the system says", beats(heartbeat.Config{}))
	b.Run("bare pipeline", func(b *testing.B) {
		payload := `{"service_name":"bench","instance_id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890",` +
			`"timestamp":"2025-01-16T08:30:00.123456+00:00","uptime_seconds":3600.5,"heartbeat_count":60,` +
			`"memory_usage_mb":156.3,"cpu_usage_percent":12.5}`
		b.ReportAllocs()
		for b.Loop() {
			pipe := rdb.Pipeline()
			pipe.Publish(b.Context(), "health:service:bench:heartbeat", payload)
			pipe.Set(b.Context(), "health:last:bench:bare", payload, 10*time.Minute)
			pipe.XAdd(b.Context(), &redis.XAddArgs{
				Stream: "bench:bare", MaxLen: 1000, Approx: true,
				Values: []string{"channel", "health:service:bench:heartbeat", "payload", payload},
			})
			_, err := pipe.Exec(b.Context())
			require.NoError(b, err)
		}
	})
}
