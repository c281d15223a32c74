package redisblock_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redisblock"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// hasBlocked looks into CLIENT LIST for a blocked client (flag b) whose line has the field.
func hasBlocked(clients, field string) bool {
	for line := range strings.Lines(clients) {
		flags, cmd := "", ""
		matches := false
		for f := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(f, "=")
			switch name {
			case "flags":
				flags = value
			case "cmd":
				cmd = value
			}
			matches = matches || value == field
		}
		if strings.Contains(flags, "b") && (matches || cmd == field) {
			return true
		}
	}
	return false
}

// blockedClients counts the blocked clients of the server, which need not know CLIENT LIST.
func blockedClients(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	info, err := rdb.InfoMap(t.Context(), "clients").Result()
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(info["Clients"]["blocked_clients"])
	return n
}

func TestOpen_WrongPassword(t *testing.T) {
	t.Parallel()
	user := newUser(t, "+ping")
	rdb := newClient(t, func(o *redis.Options) { o.Username, o.Password = user, "wrong-pass" })
	_, err := redisblock.Open(t.Context(), rdb)
	require.True(t, redis.IsAuthError(err), "%v", err)
	require.NotContains(t, err.Error(), "wrong-pass")
}

func TestOpen_NobodyListens(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	srv.Kill()
	_, err := redisblock.Open(t.Context(), newClient(t, func(o *redis.Options) { o.Addr = srv.Addr() }))
	require.ErrorContains(t, err, "refused")
}

func TestOpen_ServerIsSilent(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := newClient(t, func(o *redis.Options) { o.Addr, o.ReadTimeout, o.DialTimeout = srv.Addr(), time.Hour, time.Hour })
	srv.Pause()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(errStop) })
	_, err := redisblock.Open(ctx, rdb)
	require.ErrorIs(t, err, errStop)
}

func TestClientFor_Client(t *testing.T) {
	t.Parallel()
	rdb := newClient(t, nil)
	got, err := redisblock.ClientFor(t.Context(), rdb, "key")
	require.NoError(t, err)
	require.Same(t, rdb, got)
}

func TestClientFor_Ring(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { _ = ring.Close() }()
	_, err := redisblock.ClientFor(t.Context(), ring, "key")
	require.ErrorContains(t, err, "*redis.Ring")
}
