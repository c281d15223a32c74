package pool_test

import (
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	cfg := pool.Config{Addrs: cluster.Addrs(), Cluster: true, Profile: pool.Profile{MaxConnections: 12, SocketTimeout: 300 * time.Millisecond}}

	t.Run("connections are shared out", func(t *testing.T) {
		c := open(t, cfg)
		require.Equal(t, 12, c.Stats().MaxConnections)
		require.Equal(t, 4, c.Standard().(*redis.ClusterClient).Options().PoolSize)
	})
	t.Run("blocking finds the node", func(t *testing.T) {
		c := open(t, cfg)
		for range 20 {
			k := key(t)
			require.NoError(t, c.Standard().RPush(t.Context(), k, "v").Err())
			got, err := c.Blocking().BLPop(t.Context(), time.Second, k)
			require.NoError(t, err)
			require.Equal(t, []string{k, "v"}, got)
		}
		require.LessOrEqual(t, c.Stats().Blocking.CreatedConnections, 3, "connections are used again")
	})
	t.Run("idle connections to other nodes make room", func(t *testing.T) {
		one := cfg
		one.Profile.BlockingConnections = 1
		c := open(t, one)
		for range 10 {
			_, err := c.Blocking().BLPop(t.Context(), time.Millisecond, key(t))
			require.ErrorIs(t, err, redis.Nil)
			require.Equal(t, 1, c.Stats().Blocking.CreatedConnections)
		}
	})
	t.Run("cancellation", func(t *testing.T) {
		named := cfg
		named.ClientName = "cluster-cancel"
		c, k := open(t, named), key(t)
		node, err := c.Standard().(*redis.ClusterClient).MasterForKey(t.Context(), k)
		require.NoError(t, err)
		_, err = c.Blocking().BLPop(cancelWhen(t, func() { awaitBlocked(t, node, "cluster-cancel", 1) }), 0, k)
		require.ErrorIs(t, err, errStop)
		require.Equal(t, 1, c.Stats().Blocking.AvailableConnections, "the connection survived")
	})
	t.Run("a slot moves under a blocked call", func(t *testing.T) {
		named := cfg
		named.ClientName = "moving"
		c := open(t, named)
		k := "a" + key(t)
		slot := int(c.Standard().ClusterKeySlot(t.Context(), k).Val())
		rdb := c.Standard().(*redis.ClusterClient)
		owner, err := rdb.MasterForKey(t.Context(), k)
		require.NoError(t, err)
		from, to := cluster.Nodes[0], cluster.Nodes[1]
		for _, n := range cluster.Nodes {
			if n.Addr() == owner.Options().Addr {
				from = n
			} else {
				to = n
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			awaitBlocked(t, owner, "moving", 1)
			cluster.MoveSlot(slot, from, to)
			require.NoError(t, rdb.RPush(t.Context(), k, "v").Err())
		})
		got, err := c.Blocking().BLPop(t.Context(), time.Minute, k)
		require.NoError(t, err)
		require.Equal(t, []string{k, "v"}, got)
		wg.Wait()
	})
	t.Run("not a cluster", func(t *testing.T) {
		wrong := shared(t)
		wrong.Cluster = true
		_, err := pool.Open(t.Context(), wrong)
		require.ErrorContains(t, err, sharedAddr(t)+": not a Cluster")
	})
	t.Run("one seed is down", func(t *testing.T) {
		some := cfg
		some.Addrs = append([]string{"127.0.0.1:1"}, cfg.Addrs...)
		open(t, some)
	})
	// The last ones, as they change the cluster.
	t.Run("a lost reply runs once", func(t *testing.T) { lostReplyInCluster(t, cluster, cfg) })
	t.Run("one master is down", func(t *testing.T) {
		cluster.Nodes[2].Kill()
		some := cfg
		some.Addrs = cluster.Addrs()[:1]
		open(t, some)
	})
}

func lostReplyInCluster(t *testing.T, cluster *testserver.Cluster, cfg pool.Config) {
	t.Helper()
	proxy := testserver.StartProxy(t, cluster.Nodes[0].Addr())
	host, port, err := net.SplitHostPort(proxy.Addr())
	require.NoError(t, err)
	direct := redis.NewClient(&redis.Options{Addr: cluster.Nodes[0].Addr()})
	defer func() { _ = direct.Close() }()
	require.NoError(t, direct.ConfigSet(t.Context(), "cluster-announce-port", port).Err())
	defer func() { require.NoError(t, direct.ConfigSet(t.Context(), "cluster-announce-port", "0").Err()) }()

	cfg.Addrs = []string{net.JoinHostPort(host, port)}
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := pool.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	rdb := c.Standard().(*redis.ClusterClient)
	k := keyOn(t, rdb, proxy.Addr())
	pipelined := k + ":pipelined"

	incrementUnheard(t, rdb, proxy, k)
	warmUpNode(t, rdb, k)
	proxy.DropReplies()
	cmds, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Incr(t.Context(), pipelined)
		p.Incr(t.Context(), pipelined)
		return nil
	})
	require.Error(t, err)
	for _, cmd := range cmds {
		e, ok := cmd.Err().(net.Error) //nolint:errorlint // callers may look at it directly
		require.True(t, ok && e.Timeout(), "%T %v", cmd.Err(), cmd.Err())
	}
	require.Equal(t, "1", direct.Get(t.Context(), k).Val())
	require.Equal(t, "2", direct.Get(t.Context(), pipelined).Val())
}

// warmUpNode leaves idle connections to the node of k, so that neither the next command nor a repetition is lost in a handshake.
func warmUpNode(t *testing.T, rdb *redis.ClusterClient, k string) {
	t.Helper()
	n := rdb.Options().PoolSize
	var holding, done sync.WaitGroup
	holding.Add(n)
	for range n {
		done.Go(func() {
			hold := sync.OnceFunc(func() {
				holding.Done()
				holding.Wait()
			})
			require.Eventually(t, func() bool {
				return rdb.Watch(t.Context(), func(*redis.Tx) error { hold(); return nil }, k) == nil
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
	done.Wait()
	require.ErrorIs(t, rdb.Get(t.Context(), k+":absent").Err(), redis.Nil)
}

func incrementUnheard(t *testing.T, rdb *redis.ClusterClient, proxy *testserver.Proxy, k string) {
	t.Helper()
	warmUpNode(t, rdb, k)
	proxy.DropReplies()
	err := rdb.Incr(t.Context(), k).Err()
	e, ok := err.(net.Error) //nolint:errorlint // callers may look at it directly
	require.True(t, ok && e.Timeout(), "%T %v", err, err)
	proxy.Pass()
}

// keyOn finds a key that the node holds.
func keyOn(t *testing.T, rdb *redis.ClusterClient, addr string) string {
	t.Helper()
	for range 1000 {
		k := key(t)
		node, err := rdb.MasterForKey(t.Context(), k)
		require.NoError(t, err)
		if node.Options().Addr == addr {
			return k
		}
	}
	require.Fail(t, "no key is there")
	return ""
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	cfg := pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName}
	c, k := open(t, cfg), key(t)
	require.NoError(t, c.Standard().RPush(t.Context(), k, "before").Err())
	got, err := c.Blocking().BLPop(t.Context(), time.Second, k)
	require.NoError(t, err)
	require.Equal(t, []string{k, "before"}, got)

	t.Run("unknown master", func(t *testing.T) {
		wrong := cfg
		wrong.MasterName = "nobody"
		_, err := pool.Open(t.Context(), wrong)
		require.ErrorContains(t, err, s.Addrs()[0])
		require.ErrorContains(t, err, "nobody")
	})

	old := s.Master()
	old.Kill()
	s.AwaitMaster(old)
	require.Eventually(t, func() bool { return c.Standard().RPush(t.Context(), k, "after").Err() == nil }, 20*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		got, err := c.Blocking().BLPop(t.Context(), time.Second, k)
		return err == nil && got[1] == "after"
	}, 20*time.Second, 50*time.Millisecond)
}
