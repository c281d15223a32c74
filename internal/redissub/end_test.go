package redissub_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redissub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSubscription_RunEndsAtOnce(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, server.Addr())
	ended := func(t *testing.T, l *listener) {
		t.Helper()
		begin := time.Now()
		require.NoError(t, l.stop())
		require.Less(t, time.Since(begin), 900*time.Millisecond)
	}
	t.Run("in force", func(t *testing.T) {
		ended(t, listen(t, client(t, proxy.Addr(), nil), func(c *redissub.Config) { c.Ping = time.Hour }))
	})
	t.Run("no answer", func(t *testing.T) {
		l := listen(t, client(t, proxy.Addr(), nil), func(c *redissub.Config) { c.Timeout = time.Hour })
		proxy.BlackHole()
		ended(t, l)
	})
	t.Run("connecting", func(t *testing.T) {
		l := start(t, client(t, proxy.Addr(), nil), func(c *redissub.Config) { c.Timeout = time.Hour })
		require.Eventually(t, func() bool { return proxy.Connections() > 0 }, 5*time.Second, time.Millisecond)
		ended(t, l)
	})
	t.Run("refused", func(t *testing.T) {
		proxy.Refuse()
		l := start(t, client(t, proxy.Addr(), nil), nil)
		_ = l.awaitDown(t)
		ended(t, l)
	})
	require.Eventually(t, func() bool { return proxy.Connections() == 0 }, 5*time.Second, time.Millisecond)
}

func TestSubscription_LookUpThatHeedsNoContext(t *testing.T) {
	t.Parallel()
	called, release := make(chan struct{}, 10), make(chan struct{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
		called <- struct{}{}
		<-release
		return nil, errors.New("too late")
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	s, err := redissub.New(rdb, redissub.Config{Channels: []string{"c"}, Message: func(redissub.Message) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-called
	cancel()
	require.ErrorContains(t, <-ended, "still running 1s after the end: an attempt to connect")
	close(release)
	require.ErrorContains(t, s.Run(ctx), "Run was called before")
}
