package testserver_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestCluster_ServesEverySlotAndMovesOne(t *testing.T) {
	t.Parallel()
	c := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	require.Len(t, c.Addrs(), 3)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	defer rdb.Close()
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		require.NoError(t, rdb.Set(t.Context(), key, key, 0).Err())
	}

	const slot = 15495 // of the key "a"
	require.EqualValues(t, slot, rdb.ClusterKeySlot(t.Context(), "a").Val())
	c.MoveSlot(slot, c.Nodes[2], c.Nodes[0])
	require.Equal(t, "a", connect(t, c.Nodes[0].Addr()).Get(t.Context(), "a").Val())
	for _, node := range c.Nodes[1:] {
		require.ErrorContains(t, connect(t, node.Addr()).Get(t.Context(), "a").Err(), "MOVED 15495 "+c.Nodes[0].Addr())
	}
}

func TestCluster_NodeComesBack(t *testing.T) {
	t.Parallel()
	c := testserver.StartRedisCluster(t, testserver.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	defer rdb.Close()

	c.Nodes[2].Kill()
	require.NoError(t, rdb.Set(t.Context(), "b", "b", 0).Err(), "node 0 serves on")
	c.Nodes[2].Start()
	require.Eventually(t, func() bool { return rdb.Set(t.Context(), "a", "a", 0).Err() == nil }, wait, tick)
}

func TestSentinel_ReplacesMaster(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	require.Len(t, s.Addrs(), 3)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.MasterName, SentinelAddrs: s.Addrs()})
	defer rdb.Close()
	require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err())

	first := s.Master()
	require.Same(t, s.Nodes[0], first)
	first.Kill()
	second := s.AwaitMaster(first)
	require.Same(t, s.Nodes[1], second)
	require.Eventually(t, func() bool { return rdb.Get(t.Context(), "k").Val() == "v" }, wait, tick)
}

func TestSentinel_FailsOverOnDemand(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	old := s.Master()
	next := s.Failover()
	require.NotSame(t, old, next)
	require.Same(t, next, s.Master())
	require.NoError(t, connect(t, next.Addr()).Set(t.Context(), "k", "v", 0).Err())
}
