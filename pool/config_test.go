package pool_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

func TestProfile_Figures(t *testing.T) {
	t.Parallel()
	keepAlive := pool.KeepAlive{Idle: 30 * time.Second, Interval: 5 * time.Second, Probes: 3}
	for name, tt := range map[string]struct{ got, want pool.Profile }{
		"API": {pool.API(), pool.Profile{
			MaxConnections: 50, BlockingConnections: 10, SocketTimeout: 30 * time.Second,
			BlockingTimeout: 120 * time.Second, HealthCheckInterval: 30 * time.Second, KeepAlive: keepAlive,
		}},
		"Worker": {pool.Worker(), pool.Profile{
			MaxConnections: 30, BlockingConnections: 30, SocketTimeout: 60 * time.Second,
			BlockingTimeout: 300 * time.Second, HealthCheckInterval: 60 * time.Second, KeepAlive: keepAlive,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, fmt.Sprint(tt.want.MaxConnections, tt.want.BlockingConnections, tt.want.SocketTimeout, tt.want.BlockingTimeout, tt.want.HealthCheckInterval, tt.want.KeepAlive),
				fmt.Sprint(tt.got.MaxConnections, tt.got.BlockingConnections, tt.got.SocketTimeout, tt.got.BlockingTimeout, tt.got.HealthCheckInterval, tt.got.KeepAlive))
		})
	}
	require.Equal(t, pool.KeepAlive{Idle: 600 * time.Second, Interval: 60 * time.Second, Probes: 3}, pool.PatientKeepAlive())
}

func TestProfile_ReachesTheClient(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Profile = pool.Worker()
	cfg.Profile.HealthCheckInterval = -1
	got := open(t, cfg).Standard().(*redis.Client).Options()
	require.Equal(t, 30, got.PoolSize)
	require.Equal(t, 60*time.Second, got.ReadTimeout)
	require.Equal(t, 60*time.Second, got.WriteTimeout)
	require.Zero(t, got.MaxRetries)
	require.Negative(t, got.ConnMaxIdleTime)
	require.True(t, got.ContextTimeoutEnabled)
}

func TestConfig_WaitsThatNobodySets(t *testing.T) {
	t.Parallel()
	queue, dial, greet := pool.Limits()
	require.Equal(t, []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second}, []time.Duration{queue, dial, greet}, "as documented")
}

func TestConfig_Invalid(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  pool.Config
		want []string
	}{
		"two addresses":    {pool.Config{Addr: "a:1", URL: "redis://b"}, []string{"Addr", "URL", "want one"}},
		"no port":          {pool.Config{Addr: "redis"}, []string{`Config.Addr has "redis"`, "want host:port"}},
		"one of many":      {pool.Config{Addrs: []string{"a:1", "b"}, Cluster: true}, []string{`Config.Addrs has "b"`}},
		"what are these":   {pool.Config{Addrs: []string{"a:1", "b:1"}}, []string{"has 2 addresses", "Cluster or Config.MasterName"}},
		"both topologies":  {pool.Config{MasterName: "m", Cluster: true}, []string{`Config.MasterName is "m"`}},
		"Sentinel's alone": {pool.Config{SentinelPassword: "s3cr3t"}, []string{"want Config.MasterName"}},
		"DB":               {pool.Config{DB: -1}, []string{"Config.DB is -1"}},
		"DB of a Cluster":  {pool.Config{DB: 1, Cluster: true}, []string{"Config.DB is 1"}},
		"client name":      {pool.Config{ClientName: "a b"}, []string{`Config.ClientName is "a b"`}},
		"URL and password": {pool.Config{URL: "redis://a", Password: "s3cr3t"}, []string{"in the URL"}},
		"profile": {
			pool.Config{Profile: pool.Profile{MaxConnections: -1, BlockingConnections: 1 << 20, SocketTimeout: 1, BlockingTimeout: 1, HealthCheckInterval: 1}},
			[]string{
				"Profile.MaxConnections is -1: want 1 to 10000, or 0 for 50", "Profile.BlockingConnections is 1048576",
				"Profile.SocketTimeout is 1ns: want 100ms to 10m0s, or 0 for 30s", "Profile.BlockingTimeout is 1ns", "Profile.HealthCheckInterval is 1ns",
			},
		},
		"retry budget": {pool.Config{Profile: pool.Profile{RetryBudget: time.Hour}}, []string{"Profile.RetryBudget is 1h0m0s: want 100ms to 1m0s, or 0 for 2s"}},
		"breaker": {
			pool.Config{Breaker: pool.Breaker{FailureRatio: 1.5, MinCalls: -1, Window: 1, OpenFor: time.Hour}},
			[]string{"Breaker.FailureRatio is 1.5: want 0.01 to 1, or 0 for 0.5", "Breaker.MinCalls is -1", "Breaker.Window is 1ns", "Breaker.OpenFor is 1h0m0s"},
		},
		"breaker of NaN": {pool.Config{Breaker: pool.Breaker{FailureRatio: math.NaN()}}, []string{"Breaker.FailureRatio is NaN"}},
		"keepalive": {
			pool.Config{Profile: pool.Profile{KeepAlive: pool.KeepAlive{Idle: 1, Interval: -1, Probes: 1000}}},
			[]string{"KeepAlive.Idle is 1ns", "KeepAlive.Interval is -1ns", "KeepAlive.Probes is 1000"},
		},
		"URL in Addr":     {pool.Config{Addr: "redis://joe:s3cr3t@host:1"}, []string{"Config.Addr", "URL"}},
		"URL: scheme":     {pool.Config{URL: "http://joe:s3cr3t@host"}, []string{"Config.URL has an unknown scheme"}},
		"URL: port":       {pool.Config{URL: "redis://joe:s3cr3t/x@host:1"}, []string{"Config.URL can't be read"}},
		"URL: fragment":   {pool.Config{URL: "redis://joe:x#s3cr3t@host:1"}, []string{"Config.URL can't be read"}},
		"URL: parameters": {pool.Config{URL: "redis://jo?e:s3cr3t@host:1"}, []string{"Config.URL has parameters"}},
		"URL: database":   {pool.Config{URL: "redis://jo/s3cr3t@host:1"}, []string{"Config.URL has no number"}},
		"URL: no socket":  {pool.Config{URL: "unix://joe:s3cr3t@"}, []string{"Config.URL can't be read"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pool.Open(t.Context(), tt.cfg)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "s3cr3t")
		})
	}
}

func TestConfig_PrintedShowsNoSecret(t *testing.T) {
	t.Parallel()
	cfg := pool.Config{
		Addrs: []string{"a:1", "redis://joe:s3cr3t@b"}, Addr: "c:1", URL: "redis://:s3cr3t@d", DB: 3,
		Username: "joe", Password: "s3cr3t", SentinelPassword: "s3cr3t",
	}
	encoded, err := json.Marshal(struct{ C pool.Config }{cfg})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "cfg", cfg)
	for _, text := range []string{fmt.Sprintf("%v %+v %s %#v", cfg, cfg, cfg, cfg), string(encoded), log.String(), fmt.Sprintf("%+v", &cfg)} {
		require.NotContains(t, text, "s3cr3t")
		require.Contains(t, text, "a:1")
	}
}

func FuzzConfig_URL(f *testing.F) {
	for _, u := range []string{"redis://u:p@h:1/2", "rediss://h", "unix://u:p@/s?db=1", "redis://u:p/w@h", "redis://%zz", "::", "redis:x"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, u string) {
		u = strings.ReplaceAll(u, "\x00", "") // no environment can hold it
		t.Setenv("REDIS_URL", "redis://u:S3CR3T"+u)
		if _, err := pool.FromEnv(pool.API()); err != nil {
			require.NotContains(t, err.Error(), "S3CR3T")
		}
		t.Setenv("REDIS_URL", u)
		_, err := pool.FromEnv(pool.API())
		require.True(t, err == nil || strings.HasPrefix(err.Error(), "pool: REDIS_URL "))
	})
}
