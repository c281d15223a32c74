package pool_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

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
