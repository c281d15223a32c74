package pool_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func TestOpen_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-pass"
	locked := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--requirepass", "right"}})
	web := httptest.NewServer(nil)
	t.Cleanup(web.Close)
	overTLS := serveTLS(t, sharedAddr(t))
	tests := map[string]struct {
		cfg  pool.Config
		want []string
	}{
		"nobody listens":       {pool.Config{Addr: "127.0.0.1:1", Password: secret}, []string{"127.0.0.1:1", "nobody listens"}},
		"wrong password":       {pool.Config{Addr: locked.Addr(), Password: secret}, []string{locked.Addr(), `refuses the password of user "default"`}},
		"wrong user":           {pool.Config{Addr: locked.Addr(), Username: "joe", Password: secret}, []string{locked.Addr(), `of user "joe"`}},
		"wrong password, URL":  {pool.Config{URL: "redis://joe:" + secret + "@" + locked.Addr()}, []string{locked.Addr(), `of user "joe"`}},
		"no password":          {pool.Config{Addr: locked.Addr()}, []string{locked.Addr(), "Config has none"}},
		"no password, Cluster": {pool.Config{Addr: locked.Addr(), Cluster: true}, []string{locked.Addr(), "Config has none"}},
		"no such database":     {pool.Config{Addr: sharedAddr(t), DB: 99999}, []string{"the server refuses", "DB index"}},
		"not a Cluster":        {pool.Config{Addr: sharedAddr(t), Cluster: true}, []string{sharedAddr(t), "not a Cluster"}},
		"a web server":         {pool.Config{Addr: web.Listener.Addr().String(), Password: secret}, []string{web.Listener.Addr().String(), "does not answer as Redis does"}},
		"TLS to a plain port":  {pool.Hurry(pool.Config{Addr: sharedAddr(t), Password: secret, TLS: &tls.Config{}}, time.Second, 0), []string{sharedAddr(t), "Config.TLS is set"}},
		"plain to a TLS port":  {pool.Config{Addr: overTLS.addr}, []string{overTLS.addr, "TLS port"}},
		"unknown certificate":  {pool.Config{Addr: overTLS.addr, TLS: &tls.Config{}}, []string{overTLS.addr, "TLS handshake failed", "certificate"}},
		"unknown host":         {pool.Config{Addr: "no-such-host.invalid:6379"}, []string{"no-such-host.invalid", "can't connect"}},
		"nobody at a socket":   {pool.Config{Addr: t.TempDir() + "/s"}, []string{"/s", "can't connect"}},
		"Sentinels are absent": {pool.Config{Addrs: []string{"127.0.0.1:1", "127.0.0.1:2"}, MasterName: "m"}, []string{`"m"`, "127.0.0.1:1,127.0.0.1:2", "nobody listens"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log record
			tt.cfg.Logger = log.logger()
			_, err := pool.Open(t.Context(), tt.cfg)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error()+log.String(), secret)
		})
	}
}

func TestOpen_NoRightToPing(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--user", "joe", "on", ">pw", "~*", "+get"}})
	c := open(t, pool.Config{Addr: srv.Addr(), Username: "joe", Password: "pw"})
	require.ErrorIs(t, c.Standard().Get(t.Context(), "absent").Err(), redis.Nil)
}

func TestOpen_ContextEnds(t *testing.T) {
	t.Parallel()
	silent := testserver.StartRedis(t, testserver.RedisConfig{})
	silent.Pause()
	full, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = full.Close() })
	for name, cfg := range map[string]pool.Config{
		"silent server":  {Addr: silent.Addr()},
		"silent Cluster": {Addr: silent.Addr(), Cluster: true},
		"silent TLS":     {Addr: full.Addr().String(), TLS: &tls.Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(30*time.Millisecond, func() { cancel(errStop) })
			start := time.Now()
			_, err := pool.Open(ctx, cfg)
			require.ErrorIs(t, err, errStop)
			require.ErrorContains(t, err, cfg.Addr)
			require.Less(t, time.Since(start), 4*time.Second, "none of the timeouts had to pass")
		})
	}
}

// loading is a server that answers PING only after so many times.
func loading(t *testing.T, times int32) string {
	t.Helper()
	var left atomic.Int32
	left.Store(times)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go speakRESP(c, func(cmd string) string {
				switch {
				case cmd == "hello":
					return "-ERR unknown command\r\n"
				case left.Add(-1) >= 0:
					return "-LOADING Redis is loading the dataset in memory\r\n"
				default:
					return "+PONG\r\n"
				}
			})
		}
	}()
	return ln.Addr().String()
}

func TestOpen_ServerIsLoading(t *testing.T) {
	t.Parallel()
	var log record
	c, err := pool.Open(t.Context(), pool.Config{Addr: loading(t, 2), Logger: log.logger()})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Contains(t, log.String(), "not ready")

	var again record
	ctx := cancelWhen(t, func() {
		require.Eventually(t, func() bool { return strings.Contains(again.String(), "not ready") }, 10*time.Second, time.Millisecond)
	})
	_, err = pool.Open(ctx, pool.Config{Addr: loading(t, 1000), Logger: again.logger()})
	require.ErrorIs(t, err, errStop)
	require.ErrorContains(t, err, "LOADING")
}
