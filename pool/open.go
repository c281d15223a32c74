package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// greet returns when the server has answered a PING.
func (c Config) greet(ctx context.Context, rdb redis.UniversalClient) error {
	// go-redis obeys the deadline of a context while it reads, but not its cancellation.
	defer context.AfterFunc(ctx, func() { _ = rdb.Close() })()
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return c.untilReady(ctx, c.where(), func(ctx context.Context) error { return rdb.Ping(ctx).Err() })
	}
	return c.greetMasters(ctx, cluster)
}

// greetMasters wants one master to answer: a Cluster in the middle of a failover is no reason not to start.
func (c Config) greetMasters(ctx context.Context, cluster *redis.ClusterClient) error {
	var (
		answered atomic.Int32
		mu       sync.Mutex // guards errs
		errs     []error
	)
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := c.untilReady(ctx, node.Options().Addr, func(ctx context.Context) error { return plain(node.Ping(ctx).Err()) })
		if err == nil {
			answered.Add(1)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		return nil
	})
	if answered.Load() == 0 {
		return errors.Join(append(errs, err)...)
	}
	for _, err := range errs {
		c.Logger.WarnContext(ctx, "pool: a master of the Cluster doesn't answer", "error", err)
	}
	return nil
}

// countMasters asks the nodes in turn, each through a client of its own, so that what is wrong with one can be said.
func (c Config) countMasters(ctx context.Context) (int, error) {
	var errs []error
	for _, addr := range c.Addrs {
		single := c
		single.Cluster, single.Addrs = false, []string{addr}
		masters, err := single.mastersSeenBy(ctx)
		if err == nil {
			return masters, nil
		}
		errs = append(errs, err)
	}
	return 0, errors.Join(errs...)
}

func (c Config) mastersSeenBy(ctx context.Context) (int, error) {
	rdb := c.newClient(1, unmarked)
	defer func() { _ = rdb.Close() }()
	defer context.AfterFunc(ctx, func() { _ = rdb.Close() })()
	masters := make(map[string]bool)
	err := c.untilReady(ctx, c.Addrs[0], func(ctx context.Context) error {
		slots, err := rdb.ClusterSlots(ctx).Result()
		for _, slot := range slots {
			if len(slot.Nodes) > 0 {
				masters[slot.Nodes[0].Addr] = true
			}
		}
		return err
	})
	if err == nil && len(masters) == 0 {
		err = fmt.Errorf("pool: %s: the Cluster has no slots assigned", c.Addrs[0])
	}
	return len(masters), err
}

// untilReady repeats ask while the server says that it needs time. A user without the right to ask has been let in, which is what matters.
func (c Config) untilReady(ctx context.Context, addr string, ask func(context.Context) error) error {
	var busy error
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := c.once(ctx, ask)
		switch {
		case err == nil || redis.IsPermissionError(err):
			return nil
		case isOver(ctx):
			if busy != nil {
				err = busy // that the client was closed under the question says less
			}
			return fmt.Errorf("pool: %s: %w (%w)", addr, context.Cause(ctx), err)
		case !isBusy(err):
			return fmt.Errorf("pool: %s: %s: %w", addr, c.diagnosis(err), err)
		}
		busy = err
		c.Logger.WarnContext(ctx, "pool: Redis is there but not ready, waiting", "addr", addr, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// isOver tells whether ctx has ended. A read that obeys its deadline returns a moment before ctx itself knows.
func isOver(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

func (c Config) once(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, onceKey{}, true), c.limits.greet)
	defer cancel()
	return ask(ctx)
}

func isBusy(err error) bool {
	return redis.IsLoadingError(err) || redis.IsMasterDownError(err) || redis.IsClusterDownError(err)
}

// diagnosis says in words what an operator should look at.
func (c Config) diagnosis(err error) string {
	switch {
	case redis.IsAuthError(err) && c.Password == "":
		return "the server wants a password and Config has none"
	case redis.IsAuthError(err):
		return fmt.Sprintf("the server refuses the password of user %q", orDefault(c.Username, "default"))
	case redis.HasErrorPrefix(err, "This instance has cluster support disabled"):
		return "not a Cluster: Config.Cluster is to be off"
	case errors.Is(err, errNoMaster), c.MasterName != "" && errors.Is(err, redis.Nil):
		return "the Sentinels know no master of that name"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there"
	case isTLS(err):
		return "TLS handshake failed"
	case isReply(err):
		return "the server refuses"
	case (errors.Is(err, context.DeadlineExceeded) || isTimeout(err)) && c.TLS != nil:
		return "no answer in time, as from a port without TLS: Config.TLS is set"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed the connection at the first command, as a TLS port does when Config.TLS is not set"
	case isNetwork(err):
		return "can't connect"
	default:
		return "does not answer as Redis does"
	}
}

// where is what an error calls the server.
func (c Config) where() string {
	addrs := strings.Join(c.Addrs, ",")
	if c.MasterName != "" {
		return fmt.Sprintf("master %q of the Sentinels %s", c.MasterName, addrs)
	}
	return addrs
}

func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

func isTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, cert := errors.AsType[*tls.CertificateVerificationError](err)
	// A server that misses our certificate says so when the handshake is over here; crypto/tls has no exported type for that.
	op, ok := errors.AsType[*net.OpError](err)
	return header || alert || cert || ok && op.Op == "remote error"
}
