//go:build unix

package bench_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// BenchmarkPool_Restart kills a server under 64 callers, each with a SET and a GET in turn, and starts it again half a second later.
// recovery-ms is from the start's end to the first success; failed is commands that failed; lost those among them of which only the
// reply was missing, and that go-redis alone sends again without a word; slowest-ms the longest that one took.
func BenchmarkPool_Restart(b *testing.B) {
	for _, name := range []string{"upbeat", "bare"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				restart(b, name)
			}
		})
	}
}

func restart(b *testing.B, name string) {
	b.Helper()
	srv := testserver.StartRedis(b, testserver.RedisConfig{})
	rdb := redisFor(b, name, srv.Addr())
	var (
		failed, lost, slowest, first, up atomic.Int64

		wg sync.WaitGroup
	)
	ctx, stop := context.WithCancel(b.Context())
	origin := time.Now()
	for range 64 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				start := time.Now()
				var err error
				if n%2 == 0 {
					err = rdb.Set(b.Context(), "k", "v", 0).Err()
				} else {
					err = rdb.Get(b.Context(), "k").Err()
				}
				for took := int64(time.Since(start)); ; {
					if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
				switch {
				case err != nil && err != redis.Nil: //nolint:errorlint // as it comes
					failed.Add(1)
					if _, ok := errors.AsType[*pool.LostReplyError](err); ok {
						lost.Add(1)
					}
					wait(ctx, 10*time.Millisecond) // a service does something else meanwhile
				case up.Load() > 0:
					first.CompareAndSwap(0, int64(time.Since(origin)))
				}
			}
		})
	}
	wait(ctx, 200*time.Millisecond)
	srv.Kill()
	wait(ctx, 500*time.Millisecond)
	srv.Start()
	up.Store(int64(time.Since(origin)))
	for first.Load() == 0 {
		wait(ctx, time.Millisecond)
	}
	wait(ctx, 500*time.Millisecond)
	stop()
	wg.Wait()
	b.ReportMetric(float64(first.Load()-up.Load())/1e6, "recovery-ms")
	b.ReportMetric(float64(failed.Load()), "failed")
	b.ReportMetric(float64(lost.Load()), "lost")
	b.ReportMetric(float64(slowest.Load())/1e6, "slowest-ms")
}

func redisFor(b *testing.B, name, addr string) redis.UniversalClient {
	b.Helper()
	if name == "upbeat" {
		c, err := pool.Open(b.Context(), pool.Config{Addr: addr, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, c.Close()) })
		return c.Standard()
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 50, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second})
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })
	return rdb
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// BenchmarkPool_Blocked is the 99th percentile of GET while 200 callers wait in BLPOP, beside the same with none.
func BenchmarkPool_Blocked(b *testing.B) {
	const blocked = 200
	for _, waiting := range []int{0, blocked} {
		for _, name := range []string{"upbeat", "bare"} {
			label := map[int]string{0: "idle/", blocked: "200 blocked/"}[waiting] + name
			b.Run(label, func(b *testing.B) {
				srv := testserver.StartRedis(b, testserver.RedisConfig{})
				ctx, stop := context.WithCancel(b.Context())
				var wg sync.WaitGroup
				rdb, blpop := blockingFor(b, name, srv.Addr(), blocked)
				for range waiting {
					wg.Go(func() { blpop(ctx) })
				}
				if waiting > 0 && name == "upbeat" {
					require.Eventually(b, func() bool { return blockedOn(b, srv.Addr()) == blocked }, 20*time.Second, 10*time.Millisecond)
				} else if waiting > 0 {
					require.Eventually(b, func() bool { return blockedOn(b, srv.Addr()) == 50 }, 20*time.Second, 10*time.Millisecond)
				}
				var took []time.Duration
				failed := 0
				for b.Loop() {
					start := time.Now()
					short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
					if err := rdb.Get(short, "absent").Err(); err != redis.Nil { //nolint:errorlint // as it comes
						failed++
					}
					cancel()
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
				b.ReportMetric(float64(failed)/float64(len(took)), "failed/op")
				stop()
				srv.Kill()
				wg.Wait()
			})
		}
	}
}

func blockingFor(b *testing.B, name, addr string, blocked int) (redis.UniversalClient, func(context.Context)) {
	b.Helper()
	if name == "upbeat" {
		c, err := pool.Open(b.Context(), pool.Config{
			Addr: addr, Logger: slog.New(slog.DiscardHandler), Profile: pool.Profile{BlockingConnections: blocked},
		})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, c.Close()) })
		return c.Standard(), func(ctx context.Context) { _, _ = c.Blocking().BLPop(ctx, 0, "nothing") }
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 50, ReadTimeout: 30 * time.Second, ContextTimeoutEnabled: true, MaxRetries: -1})
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })
	return rdb, func(ctx context.Context) { rdb.BLPop(ctx, time.Minute, "nothing") }
}

func blockedOn(b *testing.B, addr string) int {
	b.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 1})
	defer func() { _ = rdb.Close() }()
	list, err := rdb.ClientList(b.Context()).Result()
	require.NoError(b, err)
	return strings.Count(list, " flags=b ")
}
