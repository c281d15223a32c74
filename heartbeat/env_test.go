package heartbeat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestConfigFromEnv_Interval(t *testing.T) {
	tests := map[string]struct {
		want time.Duration // 0 with bad
		bad  bool
	}{
		"":        {0, false},
		"60":      {time.Minute, false},
		"0.5":     {500 * time.Millisecond, false},
		"1m30s":   {90 * time.Second, false},
		"100ms":   {100 * time.Millisecond, false},
		"86400":   {24 * time.Hour, false},
		"0":       {0, true},
		"-5":      {0, true},
		"99ms":    {0, true},
		"25h":     {0, true},
		"86400.1": {0, true},
		"1e300":   {0, true},
		"NaN":     {0, true},
		"Inf":     {0, true},
		"soon":    {0, true},
		"60 s":    {0, true},
		" ":       {0, true},
	}
	for text, tt := range tests {
		t.Run(text, func(t *testing.T) {
			t.Setenv("HEARTBEAT_INTERVAL", text)
			cfg, err := heartbeat.ConfigFromEnv()
			if tt.bad {
				require.ErrorContains(t, err, `heartbeat: HEARTBEAT_INTERVAL is "`+text+`": want seconds or a Go duration, 100ms to 24h0m0s`)
				return
			}
			require.NoError(t, err)
			require.Equal(t, heartbeat.Config{Interval: tt.want}, cfg)
		})
	}
}

func TestRedisOptionsFromEnv(t *testing.T) {
	const secret = "s3cret with:odd/chars"
	tests := map[string]struct{ host, port, addr, wrong string }{
		"defaults":       {"", "", "localhost:6379", ""},
		"name":           {"dragonfly", "6380", "dragonfly:6380", ""},
		"IPv6":           {"::1", "", "[::1]:6379", ""},
		"host with port": {"redis:6379", "", "", `HEALTH_REDIS_HOST is "redis:6379": want a host name`},
		"URL":            {"redis://x", "", "", "HEALTH_REDIS_HOST"},
		"newline":        {"a\nb", "", "", `HEALTH_REDIS_HOST is "a\nb"`},
		"port 0":         {"", "0", "", `HEALTH_REDIS_PORT is "0": want 1 to 65535`},
		"port large":     {"", "65536", "", `HEALTH_REDIS_PORT is "65536"`},
		"port word":      {"", "redis", "", `HEALTH_REDIS_PORT is "redis"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HEALTH_REDIS_HOST", tt.host)
			t.Setenv("HEALTH_REDIS_PORT", tt.port)
			t.Setenv("HEALTH_REDIS_PASSWORD", secret)
			opts, err := heartbeat.RedisOptionsFromEnv()
			if tt.wrong != "" {
				require.ErrorContains(t, err, tt.wrong)
				require.NotContains(t, err.Error(), secret)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.addr, opts.Addr)
			require.Equal(t, secret, opts.Password)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		t.Setenv("HEALTH_REDIS_HOST", "a b")
		t.Setenv("HEALTH_REDIS_PORT", "x")
		_, err := heartbeat.RedisOptionsFromEnv()
		require.ErrorContains(t, err, "HEALTH_REDIS_HOST")
		require.ErrorContains(t, err, "HEALTH_REDIS_PORT")
	})
}

func TestManagerConfigFromEnv_JoinsBoth(t *testing.T) {
	t.Setenv("HEARTBEAT_INTERVAL", "5")
	t.Setenv("NOTIFY_SOCKET", "@upbeat")
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "")
	cfg, err := heartbeat.ManagerConfigFromEnv()
	require.NoError(t, err)
	require.Equal(t, 5*time.Second, cfg.Interval)
	require.Equal(t, heartbeat.Systemd{Socket: "@upbeat", Watchdog: 30 * time.Second}, cfg.Systemd)

	t.Setenv("HEARTBEAT_INTERVAL", "x")
	t.Setenv("WATCHDOG_USEC", "x")
	_, err = heartbeat.ManagerConfigFromEnv()
	require.ErrorContains(t, err, "HEARTBEAT_INTERVAL")
	require.ErrorContains(t, err, `WATCHDOG_USEC is "x": want 1 to`)
}

func TestSystemdFromEnv(t *testing.T) {
	tests := map[string]struct {
		socket, usec, pid string
		want              heartbeat.Systemd
		wrong             string
	}{
		"no systemd":     {"", "1000", "", heartbeat.Systemd{}, ""},
		"path":           {"/run/n", "", "", heartbeat.Systemd{Socket: "/run/n"}, ""},
		"another's dog":  {"/run/n", "1000000", "1", heartbeat.Systemd{Socket: "/run/n"}, ""},
		"relative":       {"run/n", "", "", heartbeat.Systemd{}, `NOTIFY_SOCKET is "run/n"`},
		"virtual socket": {"vsock:2:1", "", "", heartbeat.Systemd{}, "NOTIFY_SOCKET"},
		"negative":       {"/run/n", "-1", "", heartbeat.Systemd{}, "WATCHDOG_USEC"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", tt.socket)
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			got, err := heartbeat.SystemdFromEnv()
			if tt.wrong != "" {
				require.ErrorContains(t, err, tt.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}
