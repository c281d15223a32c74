package redissub_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redissub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSubscription_Sentinel(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.MasterName, SentinelAddrs: s.Addrs()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := listen(t, rdb, nil)
	old := s.Master()
	require.Equal(t, old.Addr(), l.Stats().Node)
	l.awaitMessage(t, rdb, "before")
	old.Kill()
	master := s.AwaitMaster(old)
	l.awaitUp(t, 2)
	require.Equal(t, master.Addr(), l.Stats().Node)
	l.awaitMessage(t, client(t, master.Addr(), nil), "after")
}

func TestSubscription_Cluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartRedisCluster(t, testserver.ClusterConfig{Args: []string{"--cluster-require-full-coverage", "no"}})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	t.Cleanup(func() { _ = rdb.Close() })
	l := listen(t, rdb, nil)

	masters, err := redissub.Masters(t.Context(), rdb)
	require.NoError(t, err)
	require.Len(t, masters, len(c.Nodes))
	for _, master := range masters {
		l.awaitMessage(t, master, "from "+master.Options().Addr)
	}

	first := l.Stats().Node
	l.Renew(errors.New("not heard on all paths"))
	gap := l.awaitUp(t, 2)
	require.ErrorContains(t, gap.Why, "not heard on all paths")
	second := l.Stats().Node
	require.NotEqual(t, first, second, "another node is tried")

	for _, node := range c.Nodes {
		if node.Addr() == second {
			node.Kill()
		}
	}
	gap = l.awaitUp(t, 3)
	require.NotEqual(t, second, l.Stats().Node)
	require.Less(t, gap.Until.Sub(gap.Since), 15*time.Second)
	for _, node := range c.Nodes {
		if node.Addr() != second {
			l.awaitMessage(t, client(t, node.Addr(), nil), "still from "+node.Addr())
		}
	}
}
