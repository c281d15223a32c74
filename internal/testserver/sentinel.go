package testserver

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a private set of three Sentinels (quorum 2) over a master and a replica. Break it by its nodes; a dead master is
// replaced within a few seconds.
type Sentinel struct {
	// MasterName is what the Sentinels call the master.
	MasterName string
	// Nodes are the master and the replica: whichever is which now, see Master.
	Nodes []*Redis
	// Sentinels are servers as well: they can be killed.
	Sentinels []*Redis

	tb testing.TB
}

// SentinelConfig says how the servers that the Sentinels watch differ from the usual ones, which store nothing on disk.
type SentinelConfig struct {
	// Args are options of redis-server for both nodes. They come last, so they win.
	Args []string
}

const (
	masterName = "upbeat"
	quorum     = 2
)

// StartSentinel starts private servers that end with the test, and returns when a failover would succeed.
func StartSentinel(tb testing.TB, cfg SentinelConfig) *Sentinel {
	tb.Helper()
	master := StartRedis(tb, RedisConfig(cfg))
	replica, err := launchRedis(tb.Context(), redisSpec{
		args: cfg.Args,
		// In the file, not an option: Sentinel takes it out at a promotion, and that must outlive a restart.
		conf: append([]string{fmt.Sprintf("replicaof 127.0.0.1 %d", master.port)}, inMemory...),
	})
	require(tb, err)
	replica.give(tb)
	sentinels, err := startAll(tb, slices.Repeat([]redisSpec{{
		args: []string{"--sentinel"},
		conf: []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", masterName, master.port, quorum),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1000", masterName),
			fmt.Sprintf("sentinel failover-timeout %s 5000", masterName),
		},
	}}, 3))
	require(tb, err)
	s := &Sentinel{MasterName: masterName, Nodes: []*Redis{master, replica}, Sentinels: sentinels, tb: tb}
	within(tb, "form the Sentinels", s.formed)
	return s
}

// Addrs are the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string { return addrs(s.Sentinels) }

// Master is the node that the Sentinels take for the master now.
func (s *Sentinel) Master() *Redis {
	s.tb.Helper()
	return s.AwaitMaster(nil)
}

// AwaitMaster waits until the Sentinels have agreed on a master other than old (nil: any), and it says itself that it is one.
func (s *Sentinel) AwaitMaster(old *Redis) *Redis {
	s.tb.Helper()
	var master *Redis
	within(s.tb, "find the master", func(ctx context.Context) error {
		return poll(ctx, func(ctx context.Context) (err error) {
			master, err = s.agreed(ctx, old)
			return err
		})
	})
	return master
}

// Failover makes the Sentinels promote the replica, although the master is well, and returns the new master.
func (s *Sentinel) Failover() *Redis {
	s.tb.Helper()
	old := s.Master()
	client := dialSentinel(s.Sentinels[0])
	defer client.Close()
	within(s.tb, "fail over", func(ctx context.Context) error {
		return poll(ctx, func(ctx context.Context) error { return client.Failover(ctx, s.MasterName).Err() })
	})
	return s.AwaitMaster(old)
}

// agreed returns the master other than old that all live Sentinels, a quorum at least, name.
func (s *Sentinel) agreed(ctx context.Context, old *Redis) (*Redis, error) {
	votes := make(map[string]int)
	for _, sentinel := range s.Sentinels {
		client := dialSentinel(sentinel)
		host, err := client.GetMasterAddrByName(ctx, s.MasterName).Result()
		_ = client.Close()
		if err == nil && len(host) == 2 {
			votes[net.JoinHostPort(host[0], host[1])]++
		}
	}
	for _, node := range s.Nodes {
		if len(votes) == 1 && votes[node.Addr()] >= quorum && node != old {
			return node, isMaster(ctx, node)
		}
	}
	return nil, fmt.Errorf("the Sentinels name %v", votes)
}

func isMaster(ctx context.Context, node *Redis) error {
	rdb := dial(node)
	defer rdb.Close()
	info, err := rdb.Info(ctx, "replication").Result()
	if err == nil && !strings.Contains(info, "role:master\r\n") {
		err = fmt.Errorf("%s is not a master", node.Addr())
	}
	return err
}

// formed waits until each Sentinel knows the replica, in good health, and the other Sentinels.
func (s *Sentinel) formed(ctx context.Context) error {
	return poll(ctx, func(ctx context.Context) error {
		for _, sentinel := range s.Sentinels {
			if err := s.informed(ctx, sentinel); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Sentinel) informed(ctx context.Context, sentinel *Redis) error {
	client := dialSentinel(sentinel)
	defer client.Close()
	master, err := client.Master(ctx, s.MasterName).Result()
	if err != nil {
		return err
	}
	if master["num-other-sentinels"] != strconv.Itoa(len(s.Sentinels)-1) {
		return fmt.Errorf("%s knows %s other Sentinels", sentinel.Addr(), master["num-other-sentinels"])
	}
	replicas, err := client.Replicas(ctx, s.MasterName).Result()
	if err != nil {
		return err
	}
	if len(replicas) != 1 || replicas[0]["flags"] != "slave" || replicas[0]["master-link-status"] != "ok" {
		return fmt.Errorf("%s sees no healthy replica", sentinel.Addr())
	}
	return nil
}

func dialSentinel(r *Redis) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, DialerRetries: 1})
}
