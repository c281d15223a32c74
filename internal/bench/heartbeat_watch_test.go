//go:build unix

package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

const (
	fleetSize = 10_000
	fleetAt   = "UPBEAT_BENCH_FLEET" // the server that the process of the senders is to use
	// watchFor is what one iteration observes.
	watchFor = 5 * time.Second
)

// BenchmarkWatch is the processor time of a process that watches 10,000 senders, which beat every 60 s through a real Redis from a process of
// their own: cpu-percent is of one core. The alternative only decodes what it hears; it judges nobody.
func BenchmarkWatch(b *testing.B) {
	server := testserver.StartRedis(b, testserver.RedisConfig{})
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { require.NoError(b, rdb.Close()) })
	startFleet(b, server.Addr())

	b.Run("upbeat", func(b *testing.B) {
		monitor, err := heartbeat.NewMonitor(rdb, heartbeat.MonitorConfig{})
		require.NoError(b, err)
		watch(b, func(ctx context.Context) { require.NoError(b, monitor.Run(ctx)) }, func() int { return monitor.Stats().Instances })
	})
	b.Run("go-redis channel and json.Unmarshal", func(b *testing.B) {
		var mu sync.Mutex
		seen := map[string]time.Time{}
		watch(b, func(ctx context.Context) {
			sub := rdb.PSubscribe(ctx, "health:service:*:heartbeat")
			defer sub.Close()
			for messages := sub.Channel(); ; {
				select {
				case <-ctx.Done():
					return
				case m := <-messages:
					var beat struct {
						Service  string `json:"service_name"`
						Instance string `json:"instance_id"`
					}
					if json.Unmarshal([]byte(m.Payload), &beat) == nil {
						mu.Lock()
						seen[beat.Service+":"+beat.Instance] = time.Now()
						mu.Unlock()
					}
				}
			}
		}, func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(seen)
		})
	})
}

// watch measures run when it knows the whole fleet.
func watch(b *testing.B, run func(context.Context), known func() int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	defer wg.Wait()
	defer cancel()
	require.Eventually(b, func() bool { return known() == fleetSize }, 100*time.Second, 10*time.Millisecond)
	runtime.GC()
	var used, wall time.Duration
	for b.Loop() {
		began, before := time.Now(), processorTime(b)
		<-time.After(watchFor)
		used, wall = used+processorTime(b)-before, wall+time.Since(began)
	}
	b.ReportMetric(100*used.Seconds()/wall.Seconds(), "cpu-percent")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startFleet runs the senders in a process of their own until the benchmark ends.
func startFleet(b *testing.B, addr string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fleetAt+"="+addr)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// TestMain is the process of the senders when the environment says so.
func TestMain(m *testing.M) {
	if addr := os.Getenv(fleetAt); addr != "" {
		fmt.Fprintln(os.Stderr, beatForEver(context.Background(), addr))
		return
	}
	m.Run()
}

// beatForEver has each sender beat every 60 s, and all of them spread evenly, until Redis is gone.
func beatForEver(ctx context.Context, addr string) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	const perTick = 20
	tick := time.NewTicker(60 * time.Second * perTick / fleetSize)
	for n := 0; ; n += perTick {
		<-tick.C
		pipe := rdb.Pipeline()
		for i := n; i < n+perTick; i++ {
			id := fmt.Sprintf("a1b2c3d4-e5f6-7890-abcd-%012d", i%fleetSize)
			beat := `{"service_name":"fleet` + strconv.Itoa(i%100) + `","instance_id":"` + id + `","timestamp":"2025-01-16T08:30:00.123456+00:00",` +
				`"uptime_seconds":3600.5,"heartbeat_count":` + strconv.Itoa(1+i/fleetSize) + `,"memory_usage_mb":156.3,"cpu_usage_percent":12.5,` +
				`"queue_size":17,"api_status":"ok","upbeat":{"v":1,"interval_seconds":60,"state":"running","tick_late_seconds":0,"run":"r","retain_seconds":600}}`
			pipe.Set(ctx, "health:last:fleet:"+id, beat, 10*time.Minute)
			pipe.Publish(ctx, "health:service:fleet:heartbeat", beat)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
}
