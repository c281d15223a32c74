package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// closeGrace is for what can't be closed in an orderly way at once.
const closeGrace = time.Second

// Clients are the clients of one Redis. Safe for concurrent use.
type Clients struct {
	cfg      Config // resolved
	standard redis.UniversalClient
	blocking *Blocking
	breakers breakers
	masters  int
	sever    context.CancelFunc // ends all connections, and dials

	subscriptions subscriptions

	sockets *sockets // of standard
	nodes   nodes    // of standard in a Cluster
	monitor *monitor
}

// Open connects, and returns when the server has answered, or one error that names the address and what was wrong there: after 10
// seconds per address at the latest, unless the server says that it is still loading its data, or that a failover is going on. Then it asks again
// for as long as ctx allows. It returns early when ctx ends.
func Open(ctx context.Context, cfg Config) (*Clients, error) {
	cfg, err := cfg.resolved()
	if err != nil {
		return nil, err
	}
	c := &Clients{masters: 1, sockets: newSockets()}
	cfg.life, c.sever = context.WithCancel(context.Background())
	c.cfg = cfg
	c.monitor = newMonitor(c)
	if cfg.Cluster {
		if c.masters, err = cfg.countMasters(ctx); err != nil {
			c.sever()
			return nil, err
		}
	}
	control := cfg.newClient(controlConnections, unmarked)
	cfg.sockets = c.sockets
	c.standard = cfg.newStandard(c.perMaster(), &c.breakers) //nolint:contextcheck // nodes come and go after Open
	if cluster, ok := c.standard.(*redis.ClusterClient); ok {
		c.nodes.watch(cluster)
	}
	c.blocking = newBlocking(control, cfg)
	if err := cfg.greet(ctx, c.standard); err != nil {
		c.sever()
		return nil, errors.Join(err, c.Close())
	}
	cfg.Logger.InfoContext(ctx, "pool: connected to Redis", "addr", strings.Join(cfg.Addrs, ","), "masters", c.masters,
		"max_connections", c.perMaster()*c.masters, "blocking_connections", cfg.Profile.BlockingConnections)
	return c, nil
}

// perMaster shares the profile's connections out among the masters.
func (c *Clients) perMaster() int {
	return max(1, c.cfg.Profile.MaxConnections/c.masters)
}

// Standard is the client for commands that don't block: a *redis.Client, or a *redis.ClusterClient in a Cluster. Don't close it, and don't use it
// for BLPop and its like, which would hold its connections and ignore their context.
//
// It repeats within the profile's RetryBudget what was not sent, what the server refused without running it, and reads and what is declared
// [Idempotent] even after a lost connection; a pipeline as a whole, so that its order holds. Inside Watch nothing is repeated on another connection. Any other command
// whose reply is lost fails with a [LostReplyError], and commands for a node that hasn't answered lately fail with an [OpenError] at once.
// When all connections are in use, a command waits for one for up to 5 seconds and then fails with redis.ErrPoolTimeout.
func (c *Clients) Standard() redis.UniversalClient { return c.standard }

// Blocking is the client for commands that wait.
func (c *Clients) Blocking() *Blocking { return c.blocking }

// Close ends Run, subscriptions and waiting Blocking calls, waits for them (a second or so at most, if the server doesn't answer) and
// closes all connections. Commands of Standard that are under way fail. It may be called again.
func (c *Clients) Close() error {
	c.subscriptions.close()
	c.monitor.close()
	c.blocking.close()
	// go-redis waits with its Close for a search at Sentinels, which may not answer.
	late := time.AfterFunc(closeGrace, c.sever)
	defer late.Stop()
	errs := []error{c.blocking.control.Close(), c.standard.Close()}
	c.sever() // what is still being dialled
	c.monitor.hangUp()
	for i, err := range errs {
		if errors.Is(err, redis.ErrClosed) {
			errs[i] = nil
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("pool: close: %w", err)
	}
	return nil
}
