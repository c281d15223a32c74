package pool

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// limits are those that nobody can set, but for the tests of what happens when they are reached.
type limits struct {
	// queue is how long a command waits for a free connection: 5 s. go-redis waits for ReadTimeout plus a second, which turns a
	// pool that is too small into an outage of half a minute.
	queue time.Duration
	// dial bounds a dial, TLS handshake included: 5 s.
	dial time.Duration
	// greet bounds the wait for the first answer of Open and Subscribe: 10 s.
	greet time.Duration
	// lifetime, give or take a tenth, lets connections follow DNS and balancers, and not all at the same time: an hour.
	lifetime time.Duration
}

func (l limits) withDefaults() limits {
	return limits{
		queue: orDefault(l.queue, 5*time.Second), dial: orDefault(l.dial, 5*time.Second),
		greet: orDefault(l.greet, 10*time.Second), lifetime: orDefault(l.lifetime, time.Hour),
	}
}

const (
	// concurrentDials keeps a restarted server from being met by all connections at once; it holds per address.
	concurrentDials = 8
	// controlConnections serve Blocking for waking its commands and finding nodes.
	controlConnections = 2
)

// newStandard makes the client that Standard hands out, with so many connections per master.
func (c Config) newStandard(connections int, all *breakers) redis.UniversalClient {
	repeater := retry{c.Profile.RetryBudget}
	if !c.Cluster {
		client := c.newClient(connections, marked).(*redis.Client)
		client.AddHook(repeater)
		client.AddHook(&guard{client: client, breaker: c.newBreaker(c.where(), all, nil)})
		return client
	}
	opt := c.options(connections, sealed).Cluster()
	var cluster atomic.Pointer[redis.ClusterClient]
	// A node that doesn't answer may have handed its slots to another.
	reload := func() {
		if client := cluster.Load(); client != nil {
			client.ReloadState(context.Background())
		}
	}
	opt.NewClient = func(opt *redis.Options) *redis.Client {
		node := redis.NewClient(opt)
		node.AddHook(&guard{client: node, cluster: true, breaker: c.newBreaker(opt.Addr, all, reload)})
		return node
	}
	client := redis.NewClusterClient(opt)
	client.AddHook(repeater)
	client.AddHook(sendOnce{})
	cluster.Store(client)
	return client
}

// newClient makes a client that is go-redis's own but for its settings.
func (c Config) newClient(connections int, m marks) redis.UniversalClient {
	opt := c.options(connections, m)
	switch {
	case c.Cluster:
		return redis.NewClusterClient(opt.Cluster())
	case c.MasterName != "":
		return redis.NewFailoverClient(opt.Failover())
	default:
		return redis.NewClient(opt.Simple())
	}
}

func (c Config) options(connections int, m marks) *redis.UniversalOptions {
	p := c.Profile
	return &redis.UniversalOptions{
		Addrs:      c.Addrs,
		ClientName: c.ClientName,
		DB:         c.DB,
		Username:   c.Username,
		Password:   c.Password,
		MasterName: c.MasterName,

		SentinelUsername: c.SentinelUsername,
		SentinelPassword: c.SentinelPassword,

		Dialer:                dialer{tls: c.TLS, keepAlive: p.KeepAlive, marks: m, limit: c.limits.dial, life: c.life, gate: c.dials, sockets: c.sockets}.dial,
		DialTimeout:           c.limits.dial,
		DialerRetries:         1,
		ReadTimeout:           p.SocketTimeout,
		WriteTimeout:          p.SocketTimeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,

		PoolSize:              connections,
		PipelinePoolSize:      -1, // pipelines count among the connections
		PoolTimeout:           c.limits.queue,
		MaxConcurrentDials:    concurrentDials,
		ConnMaxIdleTime:       p.HealthCheckInterval,
		ConnMaxLifetime:       c.limits.lifetime,
		ConnMaxLifetimeJitter: c.limits.lifetime / 10,

		// Both are an error per connection in the statistics of servers that don't know them: Redis before 7.2, Valkey, proxies.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}
