package redisblock_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestConn_ServerIsSilent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		block  time.Duration
		cancel bool
	}{
		"context ends":    {block: 0, cancel: true},
		"context goes on": {block: 100 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.StartRedis(t, testserver.RedisConfig{})
			rdb := newClient(t, func(o *redis.Options) { o.Addr, o.ReadTimeout = srv.Addr(), 200*time.Millisecond })
			conn, list := open(t, rdb), key(t)
			id := clientID(t, conn)
			srv.Pause()
			ctx, cancel := context.WithCancelCause(t.Context())
			if tt.cancel {
				time.AfterFunc(10*time.Millisecond, func() { cancel(errStop) })
			}
			start := time.Now()
			_, err := pop(ctx, conn, tt.block, list)
			require.Error(t, err)
			require.Less(t, time.Since(start), 15*time.Second, "half of what a block lasts on the wire")
			require.NotErrorIs(t, err, redis.Nil, "an outage is no expiry")
			if tt.cancel {
				require.ErrorIs(t, err, errStop)
			}
			cancel(nil)

			srv.Resume()
			require.NoError(t, rdb.RPush(t.Context(), list, "after").Err())
			got, err := pop(t.Context(), conn, 0, list)
			require.NoError(t, err)
			require.Equal(t, "after", got)
			require.NotEqual(t, id, clientID(t, conn), "replaced")
		})
	}
}

func TestConn_ServerRestarts(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := newClient(t, func(o *redis.Options) { o.Addr = srv.Addr() })
	conn, list := open(t, rdb), key(t)
	srv.Kill()
	_, err := pop(t.Context(), conn, 0, list)
	require.Error(t, err)
	_, err = pop(t.Context(), conn, 0, list)
	require.ErrorContains(t, err, "connect")
	srv.Start()
	require.NoError(t, rdb.RPush(t.Context(), list, "after").Err())
	got, err := pop(t.Context(), conn, 0, list)
	require.NoError(t, err)
	require.Equal(t, "after", got)
}

// deafConn loses the replies from a moment on, as a network does that fails between a command and its reply.
type deafConn struct {
	net.Conn
	deaf *atomic.Bool
}

func (c deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestConn_LostReplyIsNotRetried(t *testing.T) {
	t.Parallel()
	var deaf atomic.Bool
	rdb := newClient(t, func(o *redis.Options) {
		dial := o.NewDialer()
		o.MaxRetries = 5
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			return deafConn{c, &deaf}, err
		}
	})
	conn, list, plain := open(t, rdb), key(t), newClient(t, nil)
	require.NoError(t, plain.RPush(t.Context(), list, "1", "2", "3").Err())
	deaf.Store(true)
	_, err := pop(t.Context(), conn, 0, list)
	require.Error(t, err)
	require.EqualValues(t, 2, plain.LLen(t.Context(), list).Val(), "taken once")
}
