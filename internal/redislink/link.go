// Package redislink makes one connection with the settings of a go-redis client, outside of its pool, and can cut it at any time:
// what a blocking command and a subscription need, and a pooled connection doesn't allow.
package redislink

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Link is one connection, from its dial to its end. Sever may be called at any time, the rest by one goroutine at a time.
type Link struct {
	client *redis.Client
	// Conn is the connection; it repeats no command.
	Conn   *redis.Conn
	socket atomic.Pointer[net.Conn]
}

// Dial connects with the settings of origin, those of TLS, sign-in and Sentinel included, but for what adjust changes; greet is the first that is said, within limit beyond the client's
// DialTimeout. Commands end with their contexts. A failure leaves nothing behind, and is that of greet, with the cause of ctx where that ended it.
func Dial(
	ctx context.Context, origin *redis.Client, limit time.Duration, adjust func(*redis.Options), greet func(context.Context, *Link) error,
) (*Link, error) {
	l := &Link{}
	opt := *origin.Options()
	opt.Dialer = l.keepSocket(opt.Dialer)
	opt.ContextTimeoutEnabled = true
	opt.MaxRetries, opt.DialerRetries = -1, 1
	// Of a pool of one, a single failed dial would start a goroutine that tries again every second.
	opt.PoolSize, opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns, opt.PipelinePoolSize = 2, 0, 0, 0, -1
	// An empty reply is no failure here, and a breaker must not keep a command from being drained.
	opt.Limiter = nil
	opt.ClientSideCache, opt.ClientSideCacheConfig, opt.PushNotificationProcessor = nil, nil, nil
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	adjust(&opt)
	l.client = redis.NewClient(&opt)
	l.Conn = l.client.Conn()

	ctx, cancel := context.WithTimeout(ctx, max(opt.DialTimeout, 0)+limit)
	defer cancel()
	defer context.AfterFunc(ctx, l.Sever)()
	if err := greet(ctx, l); err != nil {
		l.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect: %w (%w)", context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("connect: %w", err)
	}
	return l, nil
}

func (l *Link) keepSocket(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		socket, err := dial(ctx, network, addr)
		if err == nil {
			l.socket.Store(&socket)
		}
		return socket, err
	}
}

// Socket returns what the connection runs over, TLS included; only after Dial or in greet, once something was said.
func (l *Link) Socket() net.Conn { return *l.socket.Load() }

// Sever ends a read in progress.
func (l *Link) Sever() {
	if socket := l.socket.Load(); socket != nil {
		_ = (*socket).Close()
	}
}

// Close severs the connection, and ends what the client has for it.
func (l *Link) Close() {
	l.Sever()
	_ = l.client.Close()
}
