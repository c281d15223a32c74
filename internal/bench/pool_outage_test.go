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

// BenchmarkPool_Restart kills a server under 64 callers and starts it again half a second later; recovery-ms counts from the start's end.
func BenchmarkPool_Restart(b *testing.B) {
	outage(b, func(b *testing.B, name string) (redis.UniversalClient, func(context.Context) time.Time) {
		b.Helper()
		srv := testserver.StartRedis(b, testserver.RedisConfig{})
		return redisFor(b, name, pool.Config{Addr: srv.Addr()}), func(ctx context.Context) time.Time {
			srv.Kill()
			wait(ctx, 500*time.Millisecond)
			srv.Start()
			return time.Now()
		}
	})
}

// BenchmarkPool_Failover kills the master of three Sentinels under 64 callers; recovery-ms counts from then, the second included that
// the Sentinels take to notice.
func BenchmarkPool_Failover(b *testing.B) {
	outage(b, func(b *testing.B, name string) (redis.UniversalClient, func(context.Context) time.Time) {
		b.Helper()
		s := testserver.StartSentinel(b, testserver.SentinelConfig{})
		return redisFor(b, name, pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName}), func(context.Context) time.Time {
			old := s.Master()
			old.Kill()
			killed := time.Now()
			s.AwaitMaster(old)
			return killed
		}
	})
}

// BenchmarkPool_SlotMoves moves the slot of the one key of 64 callers to another master of a Cluster and back, ten times; recovery-ms
// counts from the last move.
func BenchmarkPool_SlotMoves(b *testing.B) {
	outage(b, func(b *testing.B, name string) (redis.UniversalClient, func(context.Context) time.Time) {
		b.Helper()
		cluster := testserver.StartRedisCluster(b, testserver.ClusterConfig{})
		rdb := redisFor(b, name, pool.Config{Addrs: cluster.Addrs(), Cluster: true})
		return rdb, func(ctx context.Context) time.Time {
			slot := int(rdb.ClusterKeySlot(ctx, "k").Val())
			from, to := cluster.Nodes[slot*len(cluster.Nodes)/16384], cluster.Nodes[0]
			if from == to {
				to = cluster.Nodes[1]
			}
			for range 10 {
				cluster.MoveSlot(slot, from, to)
				from, to = to, from
				wait(ctx, 50*time.Millisecond)
			}
			return time.Now()
		}
	})
}

// outage has 64 callers, each with a SET and a GET in turn, of what setUp returns, while its function breaks something and returns when
// recovery begins. recovery-ms is from there to the first success of a command that began later; failed is commands that
// failed; lost those among them of which only the reply was missing, and that go-redis alone sends again without a word; slowest-ms the
// longest that one took.
func outage(b *testing.B, setUp func(b *testing.B, name string) (redis.UniversalClient, func(context.Context) time.Time)) {
	b.Helper()
	redis.SetLogger(quiet{}) // which would write into the middle of the results
	for _, name := range []string{"upbeat", "bare"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rdb, breakIt := setUp(b, name)
				broken(b, rdb, breakIt)
			}
		})
	}
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// success is a command that began and ended.
type success struct{ began, ended time.Time }

func broken(b *testing.B, rdb redis.UniversalClient, breakIt func(context.Context) time.Time) {
	b.Helper()
	var (
		failed, lost, slowest atomic.Int64

		mu        sync.Mutex
		successes []success

		wg sync.WaitGroup
	)
	ctx, stop := context.WithCancel(b.Context())
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
				if err == nil || err == redis.Nil { //nolint:errorlint // as it comes
					mu.Lock()
					successes = append(successes, success{start, time.Now()})
					mu.Unlock()
					continue
				}
				failed.Add(1)
				if _, ok := errors.AsType[*pool.LostReplyError](err); ok {
					lost.Add(1)
				}
				wait(ctx, 10*time.Millisecond) // a service does something else meanwhile
			}
		})
	}
	wait(ctx, 200*time.Millisecond)
	from := breakIt(ctx)
	var recovery time.Duration
	for recovery == 0 {
		wait(ctx, 20*time.Millisecond)
		mu.Lock()
		for _, s := range successes {
			if took := s.ended.Sub(from); s.began.After(from) && (recovery == 0 || took < recovery) {
				recovery = took
			}
		}
		mu.Unlock()
	}
	wait(ctx, 500*time.Millisecond)
	stop()
	wg.Wait()
	b.ReportMetric(recovery.Seconds()*1e3, "recovery-ms")
	b.ReportMetric(float64(failed.Load()), "failed")
	b.ReportMetric(float64(lost.Load()), "lost")
	b.ReportMetric(float64(slowest.Load())/1e6, "slowest-ms")
}

func redisFor(b *testing.B, name string, cfg pool.Config) redis.UniversalClient {
	b.Helper()
	if name == "upbeat" {
		cfg.Logger = slog.New(slog.DiscardHandler)
		c, err := pool.Open(b.Context(), cfg)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, c.Close()) })
		return c.Standard()
	}
	addrs := cfg.Addrs
	if cfg.Addr != "" {
		addrs = []string{cfg.Addr}
	}
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: addrs, MasterName: cfg.MasterName, IsClusterMode: cfg.Cluster,
		PoolSize: 50, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
	})
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
