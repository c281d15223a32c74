package pool_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func TestRun_Sentinel(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	c, log := watched(t, pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName, Profile: often()})
	old := s.Master()
	h := awaitStatus(t, c, pool.StatusOK)
	require.Equal(t, old.Addr(), h.Nodes[0].Addr, "the server's address, not the Sentinel's")
	require.Equal(t, "master", h.Nodes[0].Role)
	require.Equal(t, 1, h.Nodes[0].Replicas)
	require.Equal(t, 50, h.Stats.MaxConnections)

	t.Run("failover", func(t *testing.T) {
		next := s.Failover()
		require.Eventually(t, func() bool {
			h := c.Health(t.Context())
			return h.Status == pool.StatusOK && h.Nodes[0].Addr == next.Addr() && h.Nodes[0].Role == "master"
		}, 5*time.Second, 20*time.Millisecond, "long before the old master knows")
		require.NoError(t, c.Standard().Set(t.Context(), "k", "v", 0).Err())
		awaitLog(t, log, "addr_before="+old.Addr())
	})
	t.Run("the master is killed", func(t *testing.T) {
		master := s.Master()
		master.Kill()
		awaitStatus(t, c, pool.StatusDown)
		master.Start()
		awaitStatus(t, c, pool.StatusOK)
		require.Eventually(t, func() bool { return c.Standard().Set(t.Context(), "k", "v", 0).Err() == nil }, 20*time.Second, 20*time.Millisecond)
	})
}

func TestRun_Cluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	profile := often()
	profile.MaxConnections = 6
	c, log := watched(t, pool.Config{Addrs: cluster.Addrs()[:1], Cluster: true, Profile: profile})
	rdb := c.Standard().(*redis.ClusterClient)
	h := awaitStatus(t, c, pool.StatusOK)
	var addrs []string
	for _, n := range h.Nodes {
		require.True(t, n.Up)
		require.Equal(t, "master", n.Role)
		addrs = append(addrs, n.Addr)
	}
	require.Equal(t, slices.Sorted(slices.Values(cluster.Addrs())), addrs)

	t.Run("statistics", func(t *testing.T) { clusterStats(t, c, cluster) })
	t.Run("one node is exhausted", func(t *testing.T) {
		k := keyOn(t, rdb, cluster.Nodes[1].Addr())
		release := holdAll(t, rdb, k, 2)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { rdb.Get(ctx, k) })
		require.Eventually(t, func() bool {
			h := c.Health(t.Context())
			return h.Status == pool.StatusDegraded && h.Reasons[0] == "all 2 connections to "+cluster.Nodes[1].Addr()+" are in use, waiting: 1"
		}, 4*time.Second, 10*time.Millisecond)
		require.Equal(t, 1, c.Stats().Waiting)
		require.Zero(t, rdb.PoolStats().PendingRequests)
		release()
		cancel()
		wg.Wait()
	})
	t.Run("a slot moves", func(t *testing.T) {
		k := keyOn(t, rdb, cluster.Nodes[0].Addr())
		slot := int(rdb.ClusterKeySlot(t.Context(), k).Val())
		cluster.MoveSlot(slot, cluster.Nodes[0], cluster.Nodes[1])
		require.NoError(t, rdb.Set(t.Context(), k, "v", 0).Err())
		require.Equal(t, pool.StatusOK, c.Health(t.Context()).Status)
	})
	t.Run("one master is killed", func(t *testing.T) {
		node := cluster.Nodes[2]
		node.Kill()
		h := awaitStatus(t, c, pool.StatusDegraded)
		require.Len(t, h.Reasons, 1)
		require.Contains(t, h.Reasons[0], node.Addr()+": ")
		require.ErrorIs(t, rdb.Get(t.Context(), keyOn(t, rdb, cluster.Nodes[0].Addr())).Err(), redis.Nil)

		// A Cluster that wants all slots served refuses every key.
		for _, other := range cluster.Nodes[:2] {
			admin := redis.NewClient(&redis.Options{Addr: other.Addr()})
			require.NoError(t, admin.ConfigSet(t.Context(), "cluster-require-full-coverage", "yes").Err())
			require.NoError(t, admin.Close())
		}
		h = awaitStatus(t, c, pool.StatusDown)
		require.Len(t, h.Reasons, 3)
		require.Contains(t, h.Reasons[0]+h.Reasons[1], "refuses commands")
		node.Start()
		awaitStatus(t, c, pool.StatusOK)
		awaitLog(t, log, "Redis is ok again")
	})
}

// clusterStats has figures of which go-redis's sum knows nothing: who subscribes, and who waits.
func clusterStats(t *testing.T, c *pool.Clients, cluster *testserver.Cluster) {
	t.Helper()
	rdb := c.Standard().(*redis.ClusterClient)
	before := c.Stats()
	sub := rdb.Subscribe(t.Context(), "news")
	_, err := sub.Receive(t.Context())
	require.NoError(t, err)
	s := c.Stats()
	require.Equal(t, before.PubSub.Active+1, s.PubSub.Active)
	require.Zero(t, rdb.PoolStats().PubSubStats.Active)
	require.NoError(t, sub.Close())
	require.Equal(t, before.PubSub.Active, c.Stats().PubSub.Active)

	for _, node := range cluster.Nodes {
		require.ErrorIs(t, rdb.Get(t.Context(), keyOn(t, rdb, node.Addr())).Err(), redis.Nil)
	}
	s = c.Stats()
	require.Len(t, s.Nodes, 3)
	require.Equal(t, 6, s.MaxConnections)
	sum := pool.ConnectionStats{MaxConnections: 6}
	for i, n := range s.Nodes {
		require.Equal(t, slices.Sorted(slices.Values(cluster.Addrs()))[i], n.Addr)
		require.Equal(t, 2, n.MaxConnections)
		require.Positive(t, n.CreatedConnections)
		require.Positive(t, n.Misses)
		sum.CreatedConnections += n.CreatedConnections
		sum.AvailableConnections += n.AvailableConnections
		sum.InUseConnections += n.InUseConnections
		sum.Hits += n.Hits
		sum.Misses += n.Misses
		sum.Stale += n.Stale
	}
	require.Equal(t, sum, s.ConnectionStats)
}

// holdAll holds n connections to the node of k until it is told to let go.
func holdAll(t *testing.T, rdb *redis.ClusterClient, k string, n int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var holding, done sync.WaitGroup
	holding.Add(n)
	for range n {
		done.Go(func() {
			_ = rdb.Watch(t.Context(), func(tx *redis.Tx) error {
				err := tx.Ping(t.Context()).Err()
				holding.Done()
				<-ctx.Done()
				return err
			}, k)
		})
	}
	holding.Wait()
	return func() {
		cancel()
		done.Wait()
	}
}
