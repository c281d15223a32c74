package pool_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
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

// What is meant for the master reaches the Sentinels: a greeting that they may not understand, and idle connections.
func TestTrap_SentinelsGetTheMastersSettings(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	const idle = 20
	var mu sync.Mutex
	greeted := make(map[any]bool)
	before := sentinelConnections(t, s, "")
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{
		SentinelAddrs: s.Addrs(), MasterName: s.MasterName, PoolSize: 50, MinIdleConns: idle,
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			role, err := conn.Do(ctx, "role").Slice()
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				greeted[role[0]] = true
			}
			return err
		},
	})
	defer func() { _ = rdb.Close() }()
	require.NoError(t, rdb.Ping(t.Context()).Err())
	require.Eventually(t, func() bool { return sentinelConnections(t, s, "") >= before+idle }, 10*time.Second, 5*time.Millisecond)
	mu.Lock()
	require.True(t, greeted["sentinel"])
	mu.Unlock()

	c := open(t, pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName, ClientName: "here", Profile: pool.Worker()})
	warmUp(t, c, 30)
	require.ErrorIs(t, c.Standard().Get(t.Context(), "absent").Err(), redis.Nil)
	_, err := c.Blocking().BLPop(t.Context(), time.Millisecond, "absent")
	require.ErrorIs(t, err, redis.Nil)
	require.Positive(t, sentinelConnections(t, s, "here"))
	require.LessOrEqual(t, sentinelConnections(t, s, "here"), 8+1+2+1, "each of Standard's dials asks, 8 at a time; Blocking's, 2; and each hears of failovers")
}

// sentinelConnections counts those of a name that have shaken hands, at all Sentinels together; all of "" count.
func sentinelConnections(t *testing.T, s *testserver.Sentinel, name string) (n int) {
	t.Helper()
	for _, addr := range s.Addrs() {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		list, err := rdb.ClientList(t.Context()).Result()
		require.NoError(t, rdb.Close())
		require.NoError(t, err)
		n += strings.Count(list, " name="+name)
	}
	return n
}

// A breaker by Limiter can't be had for a Cluster and behind Sentinels. The other half of this trap are the tests of Breaker.
func TestTrap_NoLimiterInTopologies(t *testing.T) {
	t.Parallel()
	for options, has := range map[reflect.Type]bool{
		reflect.TypeFor[redis.Options](): true, reflect.TypeFor[redis.ClusterOptions](): false,
		reflect.TypeFor[redis.FailoverOptions](): false, reflect.TypeFor[redis.UniversalOptions](): false,
	} {
		_, found := options.FieldByName("Limiter")
		require.Equal(t, has, found, options)
	}
}

// A retried Do("BLPOP") asks four times, and each may be given an element that nobody reads.
func TestTrap_DoBLPopIsRetried(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go speakRESP(conn, func(cmd string) string {
				if cmd != "blpop" {
					return "-ERR unknown command\r\n"
				}
				asked.Add(1)
				return "" // it blocks
			})
		}
	}()
	rdb := bare(t, &redis.Options{Addr: ln.Addr().String(), ReadTimeout: 100 * time.Millisecond})
	require.Error(t, rdb.Do(t.Context(), "BLPOP", "k", 1).Err())
	require.EqualValues(t, 4, asked.Load())

	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr(), Profile: pool.Profile{SocketTimeout: 100 * time.Millisecond}})
	_, err = c.Blocking().BLPop(t.Context(), time.Second, "k")
	require.ErrorIs(t, err, redis.Nil)
	require.Contains(t, c.Standard().Info(t.Context(), "commandstats").Val(), "cmdstat_blpop:calls=1,")
}

func TestTraps_EveryLineHasItsTests(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("TRAPS.md")
	require.NoError(t, err)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(text)
	}
	named := make(map[string]bool)
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(table), -1) {
		named[name[1]] = true
		require.Contains(t, source.String(), "func "+name[1]+"(t *testing.T)")
	}
	for _, name := range regexp.MustCompile(`func (TestTrap_\w+)\(`).FindAllStringSubmatch(source.String(), -1) {
		require.True(t, named[name[1]], "TRAPS.md has no line for %s", name[1])
	}
}
