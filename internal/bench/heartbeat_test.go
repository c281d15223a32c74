//go:build unix

package bench_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// BenchmarkBeat is one beat over a real connection: PUBLISH, SET and XADD in one trip. cpu-ns/op is processor time of
// this process, the collector of garbage included; ns/op is mostly the server's.
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
			perBeat(b, func() error { return pub.Beat(b.Context()) })
		}
	}
	b.Run("upbeat", beats(heartbeat.Config{NoUsage: true}))
	b.Run("upbeat and what the system says", beats(heartbeat.Config{}))
	b.Run("bare pipeline", func(b *testing.B) {
		payload := `{"service_name":"bench","instance_id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890",` +
			`"timestamp":"2025-01-16T08:30:00.123456+00:00","uptime_seconds":3600.5,"heartbeat_count":60,` +
			`"memory_usage_mb":156.3,"cpu_usage_percent":12.5}`
		perBeat(b, func() error {
			pipe := rdb.Pipeline()
			pipe.Publish(b.Context(), "health:service:bench:heartbeat", payload)
			pipe.Set(b.Context(), "health:last:bench:bare", payload, 10*time.Minute)
			pipe.XAdd(b.Context(), &redis.XAddArgs{
				Stream: "bench:bare", MaxLen: 1000, Approx: true,
				Values: []string{"channel", "health:service:bench:heartbeat", "payload", payload},
			})
			_, err := pipe.Exec(b.Context())
			return err
		})
	})
}

func perBeat(b *testing.B, beat func() error) {
	b.Helper()
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		require.NoError(b, beat())
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
