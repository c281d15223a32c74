package bench_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// unsent takes a batch for answered, so that only the client's own work is measured.
type unsent struct{}

func (unsent) DialHook(next redis.DialHook) redis.DialHook { return next }

func (unsent) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (unsent) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return nil }
}

// BenchmarkPool_Batch is what a batch of 100 costs beside the network: divide by 100 for a command.
func BenchmarkPool_Batch(b *testing.B) {
	url := testserver.RedisURL(b)
	clients, err := pool.Open(b.Context(), pool.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, clients.Close()) })
	clients.Standard().AddHook(unsent{})
	opt, err := redis.ParseURL(url)
	require.NoError(b, err)
	bare := redis.NewClient(opt)
	b.Cleanup(func() { require.NoError(b, bare.Close()) })
	bare.AddHook(unsent{})

	for name, pipelined := range map[string]func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error){
		"upbeat": clients.Pipeline().Pipelined, "go-redis": bare.Pipelined,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := pipelined(b.Context(), func(p redis.Pipeliner) error {
					for range 100 {
						p.Incr(b.Context(), "key")
					}
					return nil
				})
				require.NoError(b, err)
			}
		})
	}
}
