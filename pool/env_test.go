package pool_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

func setenv(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, name := range []string{
		"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS",
		"REDIS_MAX_CONNECTIONS", "REDIS_SOCKET_TIMEOUT", "REDIS_HEALTH_CHECK_INTERVAL",
		"WORKER_REDIS_MAX_CONNECTIONS", "WORKER_REDIS_SOCKET_TIMEOUT", "WORKER_REDIS_BLOCKING_TIMEOUT",
	} {
		t.Setenv(name, vars[name])
	}
}

func TestFromEnv(t *testing.T) {
	api, worker := pool.API(), pool.Worker()
	tunedAPI, tunedWorker := api, worker
	tunedAPI.MaxConnections, tunedAPI.SocketTimeout, tunedAPI.HealthCheckInterval = 60, 1500*time.Millisecond, 10*time.Second
	tunedWorker.MaxConnections, tunedWorker.SocketTimeout, tunedWorker.BlockingTimeout = 5, time.Minute, 600*time.Second
	tests := map[string]struct {
		profile pool.Profile
		env     map[string]string
		want    pool.Config
	}{
		"nothing": {api, nil, pool.Config{Addr: "localhost:6379", Profile: api}},
		"URL":     {api, map[string]string{"REDIS_URL": "redis://h", "REDIS_HOST": "other"}, pool.Config{URL: "redis://h", Profile: api}},
		"parts": {
			api,
			map[string]string{"REDIS_HOST": "::1", "REDIS_PORT": "1", "REDIS_USERNAME": "u", "REDIS_PASSWORD": "p", "REDIS_DB": "2", "REDIS_TLS": "true"},
			pool.Config{Addr: "[::1]:1", Username: "u", Password: "p", DB: 2, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Profile: api},
		},
		"API": {
			api,
			map[string]string{"REDIS_MAX_CONNECTIONS": "60", "REDIS_SOCKET_TIMEOUT": "1.5", "REDIS_HEALTH_CHECK_INTERVAL": "10s", "WORKER_REDIS_MAX_CONNECTIONS": "5"},
			pool.Config{Addr: "localhost:6379", Profile: tunedAPI},
		},
		"Worker": {
			worker,
			map[string]string{"WORKER_REDIS_MAX_CONNECTIONS": "5", "WORKER_REDIS_SOCKET_TIMEOUT": "1m", "WORKER_REDIS_BLOCKING_TIMEOUT": "600", "REDIS_MAX_CONNECTIONS": "60"},
			pool.Config{Addr: "localhost:6379", Profile: tunedWorker},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			setenv(t, tt.env)
			got, err := pool.FromEnv(tt.profile)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestFromEnv_NamesAllThatIsWrong(t *testing.T) {
	setenv(t, map[string]string{
		"REDIS_PORT": "http", "REDIS_DB": "-1", "REDIS_TLS": "perhaps", "REDIS_HEALTH_CHECK_INTERVAL": "NaN",
		"WORKER_REDIS_MAX_CONNECTIONS": "0", "WORKER_REDIS_SOCKET_TIMEOUT": "1ms", "WORKER_REDIS_BLOCKING_TIMEOUT": "1e30",
	})
	_, err := pool.FromEnv(pool.Worker())
	for _, want := range []string{
		`REDIS_PORT is "http": want a number from 1 to 65535`, `REDIS_DB is "-1"`, `REDIS_TLS is "perhaps": want true or false`,
		`REDIS_HEALTH_CHECK_INTERVAL is "NaN": want 1s to 1h0m0s`, `WORKER_REDIS_MAX_CONNECTIONS is "0"`,
		`WORKER_REDIS_SOCKET_TIMEOUT is "1ms"`, `WORKER_REDIS_BLOCKING_TIMEOUT is "1e30"`,
	} {
		require.ErrorContains(t, err, want)
	}
	setenv(t, map[string]string{"REDIS_URL": "redis://:s3cr3t/@h"})
	_, err = pool.FromEnv(pool.API())
	require.ErrorContains(t, err, "REDIS_URL can't be read")
	require.NotContains(t, err.Error(), "s3cr3t")
}
