package redisblock

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ClientFor finds the client of the node that has key: rdb itself, or the master of the key's slot in a cluster. Other
// kinds of redis.UniversalClient (a Ring) are refused. It blocks only where the cluster's topology isn't known yet.
func ClientFor(ctx context.Context, rdb redis.UniversalClient, key string) (*redis.Client, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		node, err := c.MasterForKey(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("redisblock: node of key %q: %w", key, err)
		}
		return node, nil
	default:
		return nil, fmt.Errorf("redisblock: a %T has no single client for a key: want *redis.Client or *redis.ClusterClient", rdb)
	}
}
