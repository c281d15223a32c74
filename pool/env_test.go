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
		"REDIS_ADDRS", "REDIS_CLUSTER", "REDIS_MASTER_NAME", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD", "REDIS_CLIENT_NAME",
		"REDIS_TLS_CA_FILE", "REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE", "REDIS_TLS_SERVER_NAME", "REDIS_RETRY_BUDGET",
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
	tunedAPI.RetryBudget = 500 * time.Millisecond
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
		"Cluster": {
			api,
			map[string]string{"REDIS_ADDRS": "a:1, [::1]:2", "REDIS_CLUSTER": "true", "REDIS_PASSWORD": "p", "REDIS_CLIENT_NAME": "orders"},
			pool.Config{Addrs: []string{"a:1", "[::1]:2"}, Cluster: true, Password: "p", ClientName: "orders", Profile: api},
		},
		"Sentinel": {
			api,
			map[string]string{"REDIS_ADDRS": "a:1,b:2", "REDIS_MASTER_NAME": "m", "REDIS_SENTINEL_USERNAME": "u", "REDIS_SENTINEL_PASSWORD": "p", "REDIS_DB": "3"},
			pool.Config{Addrs: []string{"a:1", "b:2"}, MasterName: "m", SentinelUsername: "u", SentinelPassword: "p", DB: 3, Profile: api},
		},
		"server name": {
			api,
			map[string]string{"REDIS_URL": "rediss://h", "REDIS_TLS_SERVER_NAME": "redis.internal"},
			pool.Config{URL: "rediss://h", TLS: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "redis.internal"}, Profile: api},
		},
		"API": {
			api,
			map[string]string{"REDIS_MAX_CONNECTIONS": "60", "REDIS_SOCKET_TIMEOUT": "1.5", "REDIS_HEALTH_CHECK_INTERVAL": "10s", "REDIS_RETRY_BUDGET": "0.5", "WORKER_REDIS_MAX_CONNECTIONS": "5"},
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

func TestFromEnv_Contradictions(t *testing.T) {
	const secret = "s3cr3t"
	tests := map[string]struct {
		env  map[string]string
		want []string
	}{
		"both topologies":    {map[string]string{"REDIS_CLUSTER": "1", "REDIS_MASTER_NAME": "m"}, []string{`REDIS_MASTER_NAME is "m"`, "REDIS_CLUSTER"}},
		"what are these":     {map[string]string{"REDIS_ADDRS": "a:1,b:2"}, []string{`REDIS_ADDRS is "a:1,b:2"`, "REDIS_CLUSTER=true or REDIS_MASTER_NAME"}},
		"no port":            {map[string]string{"REDIS_ADDRS": "a", "REDIS_PASSWORD": secret}, []string{`REDIS_ADDRS is "a": want host:port`}},
		"URLs as addresses":  {map[string]string{"REDIS_ADDRS": "redis://u:" + secret + "@h:1"}, []string{"REDIS_ADDRS is", "hidden", "want host:port"}},
		"a URL as host":      {map[string]string{"REDIS_HOST": "redis://u:" + secret + "@h:1"}, []string{"REDIS_HOST is", "hidden", "REDIS_URL"}},
		"maybe a Cluster":    {map[string]string{"REDIS_CLUSTER": "maybe"}, []string{`REDIS_CLUSTER is "maybe": want true or false`}},
		"database":           {map[string]string{"REDIS_CLUSTER": "1", "REDIS_DB": "2"}, []string{`REDIS_DB is "2": want 0 in a Cluster`}},
		"Sentinel's alone":   {map[string]string{"REDIS_SENTINEL_PASSWORD": secret}, []string{"REDIS_SENTINEL_PASSWORD is set: want REDIS_MASTER_NAME"}},
		"client name":        {map[string]string{"REDIS_CLIENT_NAME": "a b"}, []string{`REDIS_CLIENT_NAME is "a b"`}},
		"plain URL and TLS":  {map[string]string{"REDIS_URL": "redis://:" + secret + "@h", "REDIS_TLS": "true"}, []string{`REDIS_TLS is "true": want REDIS_URL to begin with rediss://`}},
		"CA without TLS":     {map[string]string{"REDIS_TLS_CA_FILE": "/ca"}, []string{`REDIS_TLS_CA_FILE is "/ca": want TLS to be on`}},
		"no such CA":         {map[string]string{"REDIS_TLS": "1", "REDIS_TLS_CA_FILE": "/no/ca"}, []string{`REDIS_TLS_CA_FILE is "/no/ca": want a file that can be read: no such file`}},
		"CA is not one":      {map[string]string{"REDIS_TLS": "1", "REDIS_TLS_CA_FILE": "env_test.go"}, []string{`REDIS_TLS_CA_FILE is "env_test.go": want a file with a certificate`}},
		"key without cert":   {map[string]string{"REDIS_TLS": "1", "REDIS_TLS_KEY_FILE": "k"}, []string{`REDIS_TLS_KEY_FILE is "k": want REDIS_TLS_CERT_FILE`}},
		"cert without key":   {map[string]string{"REDIS_TLS": "1", "REDIS_TLS_CERT_FILE": "c"}, []string{`REDIS_TLS_CERT_FILE is "c": want REDIS_TLS_KEY_FILE`}},
		"no such cert":       {map[string]string{"REDIS_TLS": "1", "REDIS_TLS_CERT_FILE": "c", "REDIS_TLS_KEY_FILE": "k"}, []string{`REDIS_TLS_CERT_FILE is "c"`, `"k"`, "no such file"}},
		"Kubernetes's own":   {map[string]string{"REDIS_PORT": "tcp://10.0.0.1:6379"}, []string{`REDIS_PORT is "tcp://10.0.0.1:6379": want a number`}},
		"figures of API":     {map[string]string{"REDIS_MAX_CONNECTIONS": "many", "REDIS_SOCKET_TIMEOUT": "-1"}, []string{`REDIS_MAX_CONNECTIONS is "many": want a number from 1 to 10000`, `REDIS_SOCKET_TIMEOUT is "-1": want 100ms`}},
		"Sentinel's user":    {map[string]string{"REDIS_SENTINEL_USERNAME": "u"}, []string{"REDIS_SENTINEL_USERNAME or REDIS_SENTINEL_PASSWORD is set"}},
		"name without TLS":   {map[string]string{"REDIS_TLS_SERVER_NAME": "n"}, []string{`REDIS_TLS_SERVER_NAME is "n": want TLS to be on`}},
		"retry budget":       {map[string]string{"REDIS_RETRY_BUDGET": "0"}, []string{`REDIS_RETRY_BUDGET is "0": want 100ms to 1m0s`}},
		"everything at once": {map[string]string{"REDIS_PORT": "x", "REDIS_CLUSTER": "y", "REDIS_TLS": "z"}, []string{"REDIS_PORT", "REDIS_CLUSTER", "REDIS_TLS"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			setenv(t, tt.env)
			_, err := pool.FromEnv(pool.API())
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), secret)
		})
	}
}
