package pool

import (
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// poolTimeout is how long a command waits for a free connection. go-redis waits for ReadTimeout plus a second, which turns a
	// pool that is too small into an outage of half a minute.
	poolTimeout = 5 * time.Second
	// concurrentDials keeps a restarted server from being met by all connections at once.
	concurrentDials = 8
	// maxLifetime, give or take a tenth, lets connections follow DNS and balancers, and not all at the same time.
	maxLifetime = time.Hour
	// controlConnections serve Blocking for waking its commands and finding nodes.
	controlConnections = 2
)

// newClient makes a client with so many connections per master. Only Standard is sealed: what Blocking's control client sends may be
// repeated.
func (c Config) newClient(connections int, sealed bool) redis.UniversalClient {
	opt := c.options(connections, sealed)
	switch {
	case c.Cluster:
		cluster := redis.NewClusterClient(opt.Cluster())
		if sealed {
			cluster.AddHook(unseal{})
		}
		return cluster
	case c.MasterName != "":
		return redis.NewFailoverClient(opt.Failover())
	default:
		return redis.NewClient(opt.Simple())
	}
}

func (c Config) options(connections int, sealed bool) *redis.UniversalOptions {
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

		Dialer:                dialer{tls: c.TLS, keepAlive: p.KeepAlive, sealed: sealed && c.Cluster, sockets: c.sockets}.dial,
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           p.SocketTimeout,
		WriteTimeout:          p.SocketTimeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,

		PoolSize:              connections,
		PipelinePoolSize:      -1, // pipelines count among the connections
		PoolTimeout:           poolTimeout,
		MaxConcurrentDials:    concurrentDials,
		ConnMaxIdleTime:       p.HealthCheckInterval,
		ConnMaxLifetime:       maxLifetime,
		ConnMaxLifetimeJitter: maxLifetime / 10,

		// Both are an error per connection in the statistics of servers that don't know them: Redis before 7.2, Valkey, proxies.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}
