package redisstream_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

// throttled is a net.Conn on which so many bytes a second arrive.
type throttled struct {
	net.Conn
}

func (c throttled) Read(p []byte) (int, error) {
	const rate = 8 << 20
	n, err := c.Conn.Read(p[:min(len(p), 32<<10)])
	<-time.After(time.Duration(n) * time.Second / rate)
	return n, err
}

// What a slow link can't carry within the time for one reply must be asked for in smaller pieces, or it is asked for again for ever.
func TestSource_GetsLargeEntriesOverASlowLink(t *testing.T) {
	t.Parallel()
	direct, stream := shared(t)
	const n, size = 800, 64 << 10
	pipe := direct.Pipeline()
	for range n {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", strings.Repeat("x", size)}})
	}
	_, err := pipe.Exec(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { direct.Del(context.Background(), stream) })
	opt := *direct.Options()
	opt.ReadTimeout = 700 * time.Millisecond
	opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return throttled{Conn: conn}, err
	}
	rdb := redis.NewClient(&opt)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	cfg := config(stream)
	cfg.Block, cfg.Lease = time.Second, 2*time.Second
	c, stop := start(t, rdb, cfg, consumer.Config{}, func(context.Context, *message) error { return nil })
	require.Eventually(t, func() bool { return c.Stats().MessageCount >= n }, patience, 10*time.Millisecond)
	require.NoError(t, stop())
	drained(t, direct, stream)
}
