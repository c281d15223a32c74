package redissub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Masters returns the clients that stand for a node each: rdb itself, or those of a Cluster's masters, sorted by address. Other kinds of
// redis.UniversalClient (a Ring) are refused. It blocks only where the Cluster's topology isn't known yet.
func Masters(ctx context.Context, rdb redis.UniversalClient) ([]*redis.Client, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		return []*redis.Client{c}, nil
	case *redis.ClusterClient:
		var mu sync.Mutex
		var masters []*redis.Client
		err := c.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters = append(masters, node)
			return nil
		})
		if err == nil && len(masters) == 0 {
			err = errors.New("none is known")
		}
		if err != nil {
			return nil, fmt.Errorf("redissub: masters of the Cluster: %w", err)
		}
		slices.SortFunc(masters, func(a, b *redis.Client) int { return strings.Compare(a.Options().Addr, b.Options().Addr) })
		return masters, nil
	default:
		return nil, fmt.Errorf("redissub: a %T has no nodes to subscribe to: want *redis.Client or *redis.ClusterClient", rdb)
	}
}

// choose draws a node, another than the one at the address avoid if there is one: any node of a Cluster hears what is published on all.
func choose(ctx context.Context, rdb redis.UniversalClient, avoid string) (*redis.Client, error) {
	nodes, err := Masters(ctx, rdb)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(nodes), func(c *redis.Client) bool { return c.Options().Addr == avoid })
	if len(others) > 0 {
		nodes = others
	}
	return nodes[rand.IntN(len(nodes))], nil
}
