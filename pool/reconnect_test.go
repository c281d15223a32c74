package pool_test

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// All connections are cut again and again: by the server, by the network, by restarts. Each time all clients are in use again at once,
// and nothing piles up on either side. Not parallel: it counts the goroutines of the process.
func TestClients_QuickReconnects(t *testing.T) {
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, srv.Addr())
	admin := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer func() { _ = admin.Close() }()
	cuts := []func(){
		func() { _ = admin.ClientKillByFilter(t.Context(), "SKIPME", "yes").Err() },
		proxy.Reset,
		func() { _ = admin.ClientKillByFilter(t.Context(), "TYPE", "normal").Err() },
		func() { _ = admin.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err() },
	}
	require.NoError(t, open(t, pool.Config{Addr: proxy.Addr()}).Close())
	require.NoError(t, admin.Ping(t.Context()).Err())
	require.Eventually(t, func() bool { return proxy.Connections() == 0 }, 10*time.Second, time.Millisecond)
	settled := runtime.NumGoroutine()

	const standard, control, blocking, subscribed = 4, 2, 1, 1
	c, err := pool.Open(t.Context(), pool.Config{
		Addr: proxy.Addr(), Logger: slog.New(slog.DiscardHandler), Profile: pool.Profile{MaxConnections: standard, BlockingConnections: blocking},
	})
	require.NoError(t, err)
	sub, err := c.Subscribe(t.Context(), "news")
	require.NoError(t, err)
	rounds := 0
	for want := uint32(testserver.Times(300, 10_000)); c.Stats().Misses < want; rounds++ {
		if rounds%100 == 50 {
			srv.Restart()
		} else {
			cuts[rounds%len(cuts)]()
		}
		var wg sync.WaitGroup
		for range standard {
			wg.Go(func() {
				require.Eventually(t, func() bool {
					err := c.Standard().Get(t.Context(), "absent").Err()
					require.True(t, errors.Is(err, redis.Nil) || errors.Is(err, pool.ErrOpen), err)
					return errors.Is(err, redis.Nil)
				}, 10*time.Second, time.Millisecond)
			})
		}
		wg.Go(func() {
			require.NoError(t, admin.RPush(t.Context(), "jobs", rounds).Err())
			require.Eventually(t, func() bool {
				_, err := c.Blocking().BLMove(t.Context(), "jobs", "jobs", "LEFT", "LEFT", time.Second)
				return err == nil // it repeats nothing, and may find its connection cut
			}, 10*time.Second, time.Millisecond)
		})
		wg.Wait()
	}
	t.Logf("%d connections of Standard and %d of subscriptions in %d rounds", c.Stats().Misses, c.Stats().PubSub.Created, rounds)

	require.Eventually(t, func() bool { return c.Stats().PubSub.Active == subscribed }, 10*time.Second, time.Millisecond)
	s := c.Stats()
	require.LessOrEqual(t, s.CreatedConnections, standard)
	require.LessOrEqual(t, s.Blocking.CreatedConnections, blocking)
	require.LessOrEqual(t, connections(t, srv.Addr()), 1+standard+control+blocking+subscribed, "with the admin's")
	require.NoError(t, c.Close())
	for range sub.All() { // ends
	}
	require.NoError(t, admin.Close())
	require.Eventually(t, func() bool { return connections(t, srv.Addr()) == 0 }, 10*time.Second, time.Millisecond)
	asking := 1 // Eventually's own
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= settled+asking }, 10*time.Second, time.Millisecond)
}
