package pool_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// Whatever is at the other end, an Open that fails does so in time and leaves neither a connection nor a goroutine. Not parallel: it
// counts the goroutines of the process.
func TestOpen_FailuresLeaveNothing(t *testing.T) {
	locked := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--requirepass", "right"}})
	web := httptest.NewServer(nil)
	t.Cleanup(web.Close)
	overTLS := serveTLS(t, locked.Addr())
	pass, refuse, blackHole := (*testserver.Proxy).Pass, (*testserver.Proxy).Refuse, (*testserver.Proxy).BlackHole
	halfOpen, dropReplies := (*testserver.Proxy).HalfOpen, (*testserver.Proxy).DropReplies
	for name, tt := range map[string]struct {
		target string
		mode   func(*testserver.Proxy)
		cfg    pool.Config
		want   string
	}{
		"nobody listens":           {"127.0.0.1:1", refuse, pool.Config{}, "nobody listens"},
		"wrong password":           {locked.Addr(), pass, pool.Config{Password: "wrong"}, "refuses the password"},
		"wrong password, TLS":      {overTLS.addr, pass, pool.Config{Password: "wrong", TLS: overTLS.client}, "refuses the password"},
		"no password, Cluster":     {locked.Addr(), pass, pool.Config{Cluster: true}, "Config has none"},
		"no Sentinel":              {locked.Addr(), pass, pool.Config{MasterName: "m", SentinelPassword: "right"}, `master "m"`},
		"a web server":             {web.Listener.Addr().String(), pass, pool.Config{}, "does not answer as Redis does"},
		"a web server, Cluster":    {web.Listener.Addr().String(), pass, pool.Config{Cluster: true}, "does not answer as Redis does"},
		"TLS to a plain port":      {locked.Addr(), pass, pool.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, errStop.Error()},
		"plain to a TLS port":      {overTLS.addr, pass, pool.Config{}, "TLS port"},
		"unknown certificate":      {overTLS.addr, pass, pool.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "TLS handshake failed"},
		"LOADING":                  {loading(t, 1_000_000), pass, pool.Config{}, "LOADING"},
		"black hole":               {locked.Addr(), blackHole, pool.Config{}, errStop.Error()},
		"black hole, Cluster":      {locked.Addr(), blackHole, pool.Config{Cluster: true}, errStop.Error()},
		"half-open":                {locked.Addr(), halfOpen, pool.Config{}, errStop.Error()},
		"half-open, behind TLS":    {overTLS.addr, halfOpen, pool.Config{TLS: overTLS.client}, errStop.Error()},
		"answers are swallowed":    {locked.Addr(), dropReplies, pool.Config{Password: "right"}, errStop.Error()},
		"black hole, of Sentinels": {locked.Addr(), blackHole, pool.Config{MasterName: "m"}, errStop.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := testserver.StartProxy(t, tt.target)
			settled := runtime.NumGoroutine() // with the proxy's own, as long as it lets pass
			tt.mode(proxy)
			patience := 20 * time.Second // for what fails by itself
			if tt.want == errStop.Error() || tt.want == "LOADING" {
				patience = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errStop)
			defer cancel()
			tt.cfg.Addrs, tt.cfg.Logger = []string{proxy.Addr()}, slog.New(slog.DiscardHandler)
			start := time.Now()
			_, err := pool.Open(ctx, tt.cfg)
			require.Less(t, time.Since(start), 3*time.Second)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, proxy.Addr())
			require.Eventually(t, func() bool { return proxy.Connections() == 0 }, 10*time.Second, time.Millisecond)
			proxy.Pass() // in a black hole, the proxy's own goroutines stay
			asking := 1  // Eventually's own
			require.Eventually(t, func() bool { return runtime.NumGoroutine() <= settled+asking }, 10*time.Second, time.Millisecond)
		})
	}
}

// What a replica says is passed on as it is, by every client.
func TestClients_ReadOnlyReplica(t *testing.T) {
	t.Parallel()
	master := testserver.StartRedis(t, testserver.RedisConfig{})
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--replicaof", host, port}})
	c := open(t, pool.Config{Addr: srv.Addr(), Profile: pool.Profile{RetryBudget: -1}})
	err = c.Standard().Set(t.Context(), "k", "v", 0).Err()
	require.True(t, redis.IsReadOnlyError(err), err)
	require.ErrorIs(t, c.Standard().Get(t.Context(), "k").Err(), redis.Nil, "it reads")
	_, err = c.Blocking().BLPop(t.Context(), time.Second, "jobs")
	require.True(t, redis.IsReadOnlyError(err), err)
	_, err = c.Tasks().Transition(t.Context(), pool.Transition{Task: "t", To: "a"})
	require.True(t, redis.IsReadOnlyError(err), err)
	require.Equal(t, "replica", c.Health(t.Context()).Nodes[0].Role)
}
