package redisblock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// link is one TCP connection, from its dial to its end.
type link struct {
	client *redis.Client
	conn   *redis.Conn
	socket atomic.Pointer[net.Conn]
	id     int64 // as CLIENT UNBLOCK wants it; 0 where there is no such thing
}

// dial connects with the settings of origin. A client around the one connection makes both possible that a pooled connection does not
// allow: retries are off for every command, and the socket can be closed while somebody reads from it.
func dial(ctx context.Context, origin *redis.Client, margin time.Duration) (*link, error) {
	l := &link{}
	opt := *origin.Options()
	opt.Dialer = l.keepSocket(opt.Dialer)
	// The deadline of each read is that of its context: block time plus margin.
	opt.ContextTimeoutEnabled, opt.ReadTimeout = true, -1
	opt.MaxRetries, opt.DialerRetries = -1, 1
	// Of a pool of one, a single failed dial would start a goroutine that tries again every second.
	opt.PoolSize, opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns, opt.PipelinePoolSize = 2, 0, 0, 0, -1
	// An empty reply is no failure here, and a breaker must not keep a command from being drained.
	opt.Limiter = nil
	opt.ClientSideCache, opt.ClientSideCacheConfig, opt.PushNotificationProcessor = nil, nil, nil
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	l.client = redis.NewClient(&opt)
	l.conn = l.client.Conn()

	ctx, cancel := context.WithTimeout(ctx, opt.DialTimeout+margin)
	defer cancel()
	defer context.AfterFunc(ctx, l.sever)()
	if err := l.identify(ctx); err != nil {
		l.close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("redisblock: connect: %w (%w)", context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("redisblock: connect: %w", err)
	}
	return l, nil
}

// identify learns the connection's id, if both halves of unblocking are allowed: no client has the id 0, so the second does nothing. What a server
// says that doesn't know them differs. One that is merely not ready fails the next command, and is asked again after it.
func (l *link) identify(ctx context.Context) error {
	pipe := l.conn.Pipeline()
	id := pipe.ClientID(ctx)
	pipe.ClientUnblock(ctx, 0)
	_, err := pipe.Exec(ctx)
	if err == nil {
		l.id = id.Val()
		return nil
	}
	if _, refused := errors.AsType[redis.Error](err); refused && !redis.IsAuthError(err) {
		return nil
	}
	return err
}

func (l *link) keepSocket(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		socket, err := dial(ctx, network, addr)
		if err == nil {
			l.socket.Store(&socket)
		}
		return socket, err
	}
}

func (l *link) longestBlock() time.Duration {
	if l.id == 0 {
		return sliceBlock
	}
	return longestBlock
}

// sever ends a read in progress.
func (l *link) sever() {
	if socket := l.socket.Load(); socket != nil {
		_ = (*socket).Close()
	}
}

func (l *link) close() {
	_ = l.client.Close()
}
