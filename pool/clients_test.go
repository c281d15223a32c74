package pool_test

import (
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func TestClients_Standard(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	require.NoError(t, c.Standard().Set(t.Context(), k, "v", time.Minute).Err())
	require.Equal(t, "v", c.Standard().Get(t.Context(), k).Val())
}

func TestClients_UnixSocket(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/s"
	testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--unixsocket", path, "--requirepass", "p@ss"}})
	for name, cfg := range map[string]pool.Config{
		"Addr": {Addr: path, Password: "p@ss", DB: 2},
		"URL":  {URL: "unix://:p%40ss@" + path + "?db=2"},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := open(t, cfg).Standard().ClientInfo(t.Context()).Result()
			require.NoError(t, err)
			require.Equal(t, 2, info.DB)
		})
	}
}

func TestClients_ConnectionsAreTheTotal(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr(), ClientName: "total", Profile: pool.Profile{MaxConnections: 3}})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			_, err := c.Standard().Pipelined(t.Context(), func(p redis.Pipeliner) error {
				p.Ping(t.Context())
				return nil
			})
			require.NoError(t, err)
			require.NoError(t, c.Standard().Eval(t.Context(), "for i = 1, 100000 do end return 1", nil).Err())
		})
	}
	wg.Wait()
	require.Equal(t, 3, strings.Count(c.Standard().ClientList(t.Context()).Val(), " name=total "))
}

func TestClients_LostReplyRunsOnce(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c, plain, k := open(t, pool.Config{Addr: proxy.Addr(), Profile: pool.Profile{SocketTimeout: time.Second}}), open(t, shared(t)), key(t)
	warmUp(t, c, 5) // a repetition would find a connection to run on
	proxy.DropReplies()
	err := c.Standard().Incr(t.Context(), k).Err()
	e, ok := err.(net.Error) //nolint:errorlint // callers may look at it directly
	require.True(t, ok && e.Timeout(), "%T %v", err, err)
	require.Equal(t, "1", plain.Standard().Get(t.Context(), k).Val())
}

func TestClients_DeadIdleConnections(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr()})
	warmUp(t, c, 10)
	srv.Restart()
	for range 10 {
		require.NoError(t, c.Standard().Incr(t.Context(), "dead-idle").Err(), "no idle connection of before is used")
	}
}

// warmUp leaves n idle connections behind.
func warmUp(t *testing.T, c *pool.Clients, n int) {
	t.Helper()
	var holding, done sync.WaitGroup
	holding.Add(n)
	for range n {
		done.Go(func() {
			require.NoError(t, c.Standard().(*redis.Client).Watch(t.Context(), func(tx *redis.Tx) error {
				err := tx.Ping(t.Context()).Err()
				holding.Done()
				holding.Wait()
				return err
			}))
		})
	}
	done.Wait()
	require.GreaterOrEqual(t, c.Stats().AvailableConnections, n)
}

func TestClients_Stats(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.ClientName = "stats"
	cfg.Profile = pool.Profile{MaxConnections: 7, BlockingConnections: 4}
	c, k := open(t, cfg), key(t)
	ctx := cancelWhen(t, func() {
		awaitBlocked(t, c.Standard(), "stats", 1)
		require.NoError(t, c.Standard().(*redis.Client).Watch(t.Context(), func(tx *redis.Tx) error {
			s := c.Stats()
			require.Equal(t, 7, s.MaxConnections)
			require.Equal(t, 1, s.InUseConnections)
			require.Equal(t, s.CreatedConnections, s.AvailableConnections+s.InUseConnections)
			require.Equal(t, pool.BlockingStats{MaxConnections: 4, CreatedConnections: 1, InUseConnections: 1}, s.Blocking)
			return tx.Ping(t.Context()).Err()
		}, k))
	})
	_, err := c.Blocking().BLPop(ctx, 0, k)
	require.ErrorIs(t, err, errStop)
	encoded, err := json.Marshal(c.Stats())
	require.NoError(t, err)
	for _, field := range []string{"max_connections", "created_connections", "available_connections", "in_use_connections"} {
		require.Contains(t, string(encoded), `"`+field+`":`)
	}
}

func TestClients_Close(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.ClientName = "close"
	c, watcher, k := open(t, cfg), open(t, shared(t)), key(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			_, err := c.Blocking().BLPop(t.Context(), 0, k)
			require.ErrorIs(t, err, redis.ErrClosed)
		})
	}
	awaitBlocked(t, watcher.Standard(), "close", 5)
	require.NoError(t, c.Close())
	wg.Wait()
	require.NoError(t, c.Close(), "again")
	_, err := c.Blocking().BLPop(t.Context(), 0, k)
	require.ErrorIs(t, err, redis.ErrClosed)
	require.ErrorIs(t, c.Standard().Ping(t.Context()).Err(), redis.ErrClosed)
	require.Equal(t, pool.BlockingStats{MaxConnections: 10}, c.Stats().Blocking)
	require.Eventually(t, func() bool {
		return !strings.Contains(watcher.Standard().ClientList(t.Context()).Val(), " name=close ")
	}, 10*time.Second, 5*time.Millisecond, "no connection is left behind")
}
