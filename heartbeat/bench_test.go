package heartbeat_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func BenchmarkPublisher_Beat(b *testing.B) {
	rdb := connect(b, testserver.RedisURL(b), nil)
	service := unique(b)
	pub := newPublisher(b, rdb, service, heartbeat.Config{Stream: service})
	require.NoError(b, pub.Collect("queue_size", constant(7)))
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, pub.Beat(b.Context()))
	}
}

// BenchmarkPipeline_Bare sends what a beat sends, without making it.
func BenchmarkPipeline_Bare(b *testing.B) {
	rdb := connect(b, testserver.RedisURL(b), nil)
	service := unique(b)
	payload := []byte(plainBeat)
	b.ReportAllocs()
	for b.Loop() {
		pipe := rdb.Pipeline()
		pipe.Set(b.Context(), "health:last:"+service, payload, 10*time.Minute)
		pipe.Publish(b.Context(), "health:service:"+service, payload)
		pipe.XAdd(b.Context(), &redis.XAddArgs{
			Stream: service, MaxLen: 1_000_000, Approx: true,
			Values: []any{"channel", "health:service:" + service, "payload", payload},
		})
		_, err := pipe.Exec(b.Context())
		require.NoError(b, err)
	}
}

func BenchmarkParseBeat(b *testing.B) {
	payload := []byte(plainBeat)
	b.ReportAllocs()
	for b.Loop() {
		_, err := heartbeat.ParseBeat(payload)
		require.NoError(b, err)
	}
}

func BenchmarkMonitor_Observe(b *testing.B) {
	mon := newMonitor(b, heartbeat.MonitorConfig{})
	payload := []byte(plainBeat)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, mon.Observe(payload, 0))
	}
}
