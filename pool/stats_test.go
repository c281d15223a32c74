package pool_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// Whoever draws the counters takes a step back for a restart of the process.
func TestClients_StatsOfANodeThatComesBack(t *testing.T) {
	t.Parallel()
	var nodes pool.Nodes
	join := func() *redis.Client {
		node := redis.NewClient(&redis.Options{Addr: sharedAddr(t)})
		t.Cleanup(func() { _ = node.Close() })
		nodes.Add(node)
		for range 5 {
			require.NoError(t, node.Ping(t.Context()).Err())
		}
		return node
	}
	first := join()
	one := nodes.Sum()
	require.EqualValues(t, 5, one.Hits+one.Misses)
	require.Equal(t, 1, one.CreatedConnections)
	require.NoError(t, first.Close())
	join()
	both := nodes.Sum()
	require.EqualValues(t, 10, both.Hits+both.Misses)
	require.Equal(t, 1, both.CreatedConnections)
}

func TestClients_StatsCountSubscriptions(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c := open(t, pool.Config{Addr: proxy.Addr(), Profile: quickly})
	pubSub := func() pool.PubSubStats { return c.Stats().PubSub }
	require.Zero(t, pubSub())
	first, k := listen(t, c, key(t)), key(t)
	require.Equal(t, pool.PubSubStats{Active: 1, Created: 1}, pubSub())
	bare := c.Standard().Subscribe(t.Context(), k)
	_, err := bare.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, pool.PubSubStats{Active: 2, Created: 2}, pubSub())
	require.NoError(t, bare.Close())
	second, err := c.PSubscribe(t.Context(), k)
	require.NoError(t, err)
	require.Equal(t, pool.PubSubStats{Active: 2, Created: 3}, pubSub())
	require.NoError(t, second.Close())
	require.Eventually(t, func() bool { return pubSub() == pool.PubSubStats{Active: 1, Created: 3} }, 10*time.Second, time.Millisecond)
	proxy.Refuse()
	require.Eventually(t, func() bool { return pubSub() == pool.PubSubStats{Created: 3} }, 10*time.Second, time.Millisecond)
	proxy.Pass()
	first.awaitGap(t)
	require.Equal(t, pool.PubSubStats{Active: 1, Created: 4}, pubSub())
}
