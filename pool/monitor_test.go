package pool_test

import (
	"context"
	"encoding/json"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// often has Run look every second.
func often() pool.Profile { return pool.Profile{HealthCheckInterval: time.Second} }

// watched opens clients and has Run watch them; the log is theirs.
func watched(t *testing.T, cfg pool.Config) (*pool.Clients, *record) {
	t.Helper()
	log := &record{}
	cfg.Logger = log.logger()
	c, err := pool.Open(t.Context(), cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, c.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		require.NoError(t, c.Close())
	})
	awaitLog(t, log, "watching Redis")
	return c, log
}

func awaitLog(t *testing.T, log *record, words string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), words) }, 20*time.Second, 10*time.Millisecond, "%s", words)
}

func awaitStatus(t *testing.T, c *pool.Clients, want pool.Status) pool.Health {
	t.Helper()
	var h pool.Health
	require.Eventually(t, func() bool {
		h = c.Health(t.Context())
		return h.Status == want
	}, 20*time.Second, 10*time.Millisecond)
	return h
}

// connections are how many the server has, the one that asks left out.
func connections(t *testing.T, addr string) int {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = rdb.Close() }()
	list, err := rdb.ClientList(t.Context()).Result()
	require.NoError(t, err)
	n := -1
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " flags=S ") && !strings.Contains(line, " flags=M ") {
			n++
		}
	}
	return n
}

func TestRun_KillAndRestart(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c, log := watched(t, pool.Config{Addr: srv.Addr(), Profile: often()})
	h := c.Health(t.Context())
	require.Equal(t, pool.StatusOK, h.Status, "%v", h.Reasons)
	require.Equal(t, srv.Addr(), h.Nodes[0].Addr)

	srv.Kill()
	h = awaitStatus(t, c, pool.StatusDown)
	require.False(t, h.Nodes[0].Up)
	require.Contains(t, h.Reasons[0], srv.Addr()+": nobody listens there")
	srv.Start()
	h = awaitStatus(t, c, pool.StatusOK)
	require.Empty(t, h.Reasons)
	require.NoError(t, c.Standard().Ping(t.Context()).Err(), "nothing had to be started again")

	awaitLog(t, log, "Redis is ok again")
	require.Equal(t, 1, strings.Count(log.String(), "watching Redis"))
	require.Equal(t, 1, strings.Count(log.String(), "Redis is down"), "once for the episode: %s", log)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "after=")
}

func TestRun_PausedServer(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c, _ := watched(t, pool.Config{Addr: srv.Addr(), Profile: often()})
	srv.Pause()
	h := awaitStatus(t, c, pool.StatusDown)
	require.Contains(t, h.Reasons[0], "no answer in time")
	srv.Resume()
	awaitStatus(t, c, pool.StatusOK)
	require.Eventually(t, func() bool { return connections(t, srv.Addr()) <= 3 }, 10*time.Second, 20*time.Millisecond, "those of the outage are gone")
}

func TestRun_PoolExhausted(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	profile := often()
	profile.MaxConnections = 2
	c, log := watched(t, pool.Config{Addr: srv.Addr(), Profile: profile})
	ctx, release := context.WithCancel(t.Context())
	var holding, done sync.WaitGroup
	holding.Add(2)
	for range 2 {
		done.Go(func() {
			_ = c.Standard().(*redis.Client).Watch(t.Context(), func(tx *redis.Tx) error {
				err := tx.Ping(t.Context()).Err()
				holding.Done()
				<-ctx.Done()
				return err
			})
		})
	}
	holding.Wait()
	for range 3 {
		done.Go(func() { c.Standard().Get(ctx, "absent") })
	}
	awaitLog(t, log, "commands wait for connections")
	require.Contains(t, log.String(), "waiting=3")
	h := c.Health(t.Context())
	require.Equal(t, pool.StatusDegraded, h.Status)
	require.Equal(t, []string{"all 2 connections are in use, waiting: 3"}, h.Reasons)
	require.True(t, h.Nodes[0].Up, "the monitor has a connection of its own")
	require.Equal(t, 3, h.Stats.Waiting)
	require.Equal(t, 2, h.Stats.InUseConnections)
	release()
	done.Wait()
	require.Equal(t, pool.StatusOK, c.Health(t.Context()).Status)
	require.Equal(t, 1, strings.Count(log.String(), "commands wait"), "once for the episode")
}

func TestHealth_BlockingExhausted(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Profile.BlockingConnections = 1
	c, k := open(t, cfg), key(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { _, _ = c.Blocking().BLPop(ctx, 0, k) })
	}
	h := awaitStatus(t, c, pool.StatusDegraded)
	require.Eventually(t, func() bool { return c.Stats().Blocking.Waiting == 2 }, 10*time.Second, time.Millisecond)
	require.Contains(t, h.Reasons[0], "all 1 blocking connections are in use")
	cancel()
	wg.Wait()
	require.Zero(t, c.Stats().Blocking.Waiting)
}

// Without Run the connections that a restart has ended stay until so many are needed again.
func TestRun_ClosesDeadIdleConnections(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	front := serveTLS(t, srv.Addr())
	overTLS, _ := watched(t, pool.Config{Addr: front.addr, TLS: front.client, Profile: often()})
	plain, _ := watched(t, pool.Config{Addr: srv.Addr(), Profile: often()})
	warmUp(t, overTLS, 10)
	warmUp(t, plain, 10)
	front.hangUp()
	srv.Restart()
	for _, c := range []*pool.Clients{overTLS, plain} {
		require.Eventually(t, func() bool {
			s := c.Stats()
			return s.CreatedConnections == 0 && s.AvailableConnections == 0
		}, 10*time.Second, 10*time.Millisecond)
		for range 10 {
			require.NoError(t, c.Standard().Ping(t.Context()).Err())
		}
		require.Equal(t, 1, c.Stats().CreatedConnections)
	}
}

func TestRun_StandaloneChangesItsRole(t *testing.T) {
	t.Parallel()
	srv, other := testserver.StartRedis(t, testserver.RedisConfig{}), testserver.StartRedis(t, testserver.RedisConfig{})
	c, log := watched(t, pool.Config{Addr: srv.Addr(), Profile: often()})
	before := c.Standard().ClientID(t.Context()).Val()
	_, err := c.Blocking().BLPop(t.Context(), time.Millisecond, "absent")
	require.ErrorIs(t, err, redis.Nil)
	require.Equal(t, 1, c.Stats().Blocking.AvailableConnections)

	admin := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer func() { _ = admin.Close() }()
	host, port, err := net.SplitHostPort(other.Addr())
	require.NoError(t, err)
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", host, port).Err())
	var h pool.Health
	require.Eventually(t, func() bool {
		id := c.Standard().ClientID(t.Context()).Val() // which keeps the connection from being replaced for its age
		h = c.Health(t.Context())
		return h.Status == pool.StatusDegraded && id != before
	}, 10*time.Second, 10*time.Millisecond, "connections are made anew")
	require.Equal(t, "replica", h.Nodes[0].Role)
	require.Contains(t, h.Reasons[0], "was a master and is a replica now")
	require.Zero(t, c.Stats().Blocking.AvailableConnections)

	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	awaitStatus(t, c, pool.StatusOK)
	require.NoError(t, c.Standard().Set(t.Context(), "k", "v", 0).Err())
	require.Equal(t, 2, strings.Count(log.String(), "another server or another role"))
}

// A replica may be what is wanted; only one without its master is worth a word.
func TestRun_ReplicaFromTheBeginning(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	host, port, err := net.SplitHostPort(srv.Addr())
	require.NoError(t, err)
	copied := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--replicaof", host + " " + port}})
	c := open(t, pool.Config{Addr: copied.Addr()})
	h := awaitStatus(t, c, pool.StatusOK)
	require.Equal(t, "replica", h.Nodes[0].Role)
	require.Equal(t, "up", h.Nodes[0].ReplicationLink)
	srv.Kill()
	h = awaitStatus(t, c, pool.StatusDegraded)
	require.Equal(t, "down", h.Nodes[0].ReplicationLink)
	require.Contains(t, h.Reasons[0], "no link to its master")
}

func TestRun_Once(t *testing.T) {
	t.Parallel()
	c, _ := watched(t, shared(t))
	require.ErrorContains(t, c.Run(t.Context()), "already")
}

func TestRun_EndsWithClients(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c, _ := watched(t, pool.Config{Addr: srv.Addr()})
	require.Positive(t, connections(t, srv.Addr()))
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return connections(t, srv.Addr()) == 0 }, 10*time.Second, 10*time.Millisecond)
	h := c.Health(t.Context())
	require.Equal(t, pool.StatusDown, h.Status)
	require.Equal(t, []string{"the clients are closed"}, h.Reasons)
	require.NoError(t, c.Run(t.Context()))
}

// Not parallel: it counts the goroutines of the process.
func TestRun_LeavesNothing(t *testing.T) {
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, srv.Addr())
	require.NoError(t, open(t, pool.Config{Addr: proxy.Addr()}).Close()) // go-redis has a clock for all clients
	settled := runtime.NumGoroutine()
	c, err := pool.Open(t.Context(), pool.Config{Addr: proxy.Addr(), Profile: often(), Logger: (&record{}).logger()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, c.Run(ctx)) })
	awaitStatus(t, c, pool.StatusOK)
	require.Equal(t, 2, proxy.Connections(), "Standard's and the monitor's")
	cancel()
	wg.Wait()
	require.Eventually(t, func() bool { return proxy.Connections() == 1 }, 10*time.Second, 5*time.Millisecond, "Standard's")
	ended := time.Now()
	require.Eventually(t, func() bool { return c.Health(t.Context()).CheckedAt.After(ended) }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return proxy.Connections() == 1 }, 10*time.Second, 5*time.Millisecond, "a check without Run leaves none")

	ctx, cancel = context.WithCancel(t.Context())
	wg.Go(func() { require.NoError(t, c.Run(ctx)) })
	awaitStatus(t, c, pool.StatusOK)
	proxy.BlackHole()
	awaitStatus(t, c, pool.StatusDown)
	start := time.Now()
	cancel()
	wg.Wait()
	require.Less(t, time.Since(start), 5*time.Second)
	proxy.Pass()
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return connections(t, srv.Addr()) == 0 }, 10*time.Second, 10*time.Millisecond)
	asking := 1 // Eventually's own
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= settled+asking }, 10*time.Second, 10*time.Millisecond)
}

func TestHealth_WhatAServerTells(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{
		"--maxmemory", "100mb", "--requirepass", "r00t-secret",
		"--user", "getter", "on", ">s3cr3t", "~*", "+get",
		"--user", "pinger", "on", ">s3cr3t", "~*", "+ping", "+role",
	}})
	ask := func(user string) pool.Health {
		cfg := pool.Config{Addr: srv.Addr(), Username: user, Password: "s3cr3t"}
		if user == "" {
			cfg.Password = "r00t-secret"
		}
		h := open(t, cfg).Health(t.Context())
		encoded, err := json.Marshal(h)
		require.NoError(t, err)
		require.NotContains(t, string(encoded), "s3cr3t")
		require.NotContains(t, string(encoded), "r00t")
		require.Equal(t, pool.StatusOK, h.Status, "%v", h.Reasons)
		require.Positive(t, h.Nodes[0].RoundTripSeconds)
		return h
	}
	all := ask("").Nodes[0]
	require.Equal(t, "master", all.Role)
	require.Equal(t, int64(100<<20), all.MaxMemory)
	require.Positive(t, all.UsedMemory)
	require.Regexp(t, `^(redis|valkey) \d`, all.Version)
	require.Empty(t, ask("getter").Nodes[0].Role, "what is forbidden is left out")
	require.Equal(t, "master", ask("pinger").Nodes[0].Role)
}

func TestHealth_AskedByMany(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr()})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { require.Equal(t, pool.StatusOK, c.Health(t.Context()).Status) })
	}
	wg.Wait()
	stats := c.Standard().InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_info"]
	require.Contains(t, stats, "calls=3,", "one check served all")
}
