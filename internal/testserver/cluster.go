package testserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

const slotCount = 16384

// Cluster is a private Redis Cluster of three masters without replicas. Break it by its nodes: while one is down the others
// refuse its slots, and soon all of them, as by default.
type Cluster struct {
	Nodes []*Redis

	tb testing.TB
}

// ClusterConfig says how a private Redis Cluster differs from the usual one, which stores nothing but its topology on disk.
type ClusterConfig struct {
	// Args are options of redis-server for each node, say "--cluster-require-full-coverage", "no". They come last, so they win.
	Args []string
}

// StartRedisCluster starts a private Redis Cluster that ends with the test; the slots are spread evenly, in the order of Nodes.
func StartRedisCluster(tb testing.TB, cfg ClusterConfig) *Cluster {
	tb.Helper()
	nodes, err := startAll(tb, slices.Repeat([]redisSpec{{
		conf: append([]string{"cluster-enabled yes", "cluster-node-timeout 1000"}, inMemory...),
		args: cfg.Args,
		bus:  true,
	}}, 3))
	require(tb, err)
	c := &Cluster{Nodes: nodes, tb: tb}
	within(tb, "form a cluster", c.form)
	return c
}

// startAll starts servers at the same time. Those that started end with the test, whatever became of the others.
func startAll(tb testing.TB, specs []redisSpec) ([]*Redis, error) {
	tb.Helper()
	var (
		wg    sync.WaitGroup
		nodes = make([]*Redis, len(specs))
		errs  = make([]error, len(specs))
	)
	for i, spec := range specs {
		wg.Go(func() { nodes[i], errs[i] = launchRedis(tb.Context(), spec) })
	}
	wg.Wait()
	for _, node := range nodes {
		if node != nil {
			node.give(tb)
		}
	}
	return nodes, errors.Join(errs...)
}

// Addrs are the addresses of the nodes.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes) }

func addrs(nodes []*Redis) []string {
	all := make([]string, len(nodes))
	for i, node := range nodes {
		all[i] = node.Addr()
	}
	return all
}

// MoveSlot moves a slot and its keys from one node to another, in the steps that redis-cli takes, and returns when every node
// knows the new owner.
func (c *Cluster) MoveSlot(slot int, from, to *Redis) {
	c.tb.Helper()
	within(c.tb, fmt.Sprintf("move slot %d from %s to %s", slot, from.Addr(), to.Addr()), func(ctx context.Context) error {
		source, target := dial(from), dial(to)
		defer source.Close()
		defer target.Close()
		fromID, err := source.Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return err
		}
		toID, err := target.Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return err
		}
		if err := target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID).Err(); err != nil {
			return err
		}
		if err := source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Err(); err != nil {
			return err
		}
		if err := migrateKeys(ctx, slot, source, to.port); err != nil {
			return err
		}
		return c.announce(ctx, slot, to, toID)
	})
}

// migrateKeys sends the keys of a slot to the node at a port.
func migrateKeys(ctx context.Context, slot int, source *redis.Client, port int) error {
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		if err != nil || len(keys) == 0 {
			return err
		}
		args := []any{"MIGRATE", "127.0.0.1", port, "", 0, patience.Milliseconds(), "KEYS"}
		for _, key := range keys {
			args = append(args, key)
		}
		if err := source.Do(ctx, args...).Err(); err != nil {
			return err
		}
	}
}

// announce tells all nodes the new owner of a slot, the owner first: else nobody would own it in between.
func (c *Cluster) announce(ctx context.Context, slot int, owner *Redis, id string) error {
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(r *Redis) bool { return r == owner })
	for _, node := range append([]*Redis{owner}, others...) {
		rdb := dial(node)
		err := rdb.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id).Err()
		_ = rdb.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// form makes a cluster of the nodes and waits until each of them takes commands.
func (c *Cluster) form(ctx context.Context) error {
	for i, node := range c.Nodes {
		rdb := dial(node)
		defer rdb.Close()
		first, end := i*slotCount/len(c.Nodes), (i+1)*slotCount/len(c.Nodes)
		if err := rdb.ClusterAddSlotsRange(ctx, first, end-1).Err(); err != nil {
			return err
		}
		if err := rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		for _, other := range c.Nodes[:i] {
			if err := rdb.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(other.port)).Err(); err != nil {
				return err
			}
		}
	}
	return poll(ctx, func(ctx context.Context) error {
		for _, node := range c.Nodes {
			if err := clusterReady(ctx, node, len(c.Nodes)); err != nil {
				return err
			}
		}
		return nil
	})
}

func clusterReady(ctx context.Context, node *Redis, size int) error {
	rdb := dial(node)
	defer rdb.Close()
	info, err := rdb.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{"cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", size)} {
		if !strings.Contains(info, want+"\r\n") {
			return fmt.Errorf("%s does not report %s", node.Addr(), want)
		}
	}
	return nil
}

// dial returns a client that tries once.
func dial(r *Redis) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, DialerRetries: 1})
}
