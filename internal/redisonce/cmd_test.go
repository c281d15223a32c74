package redisonce_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redisonce"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestCmd_RunsOnceWhenItsReplyIsLost(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	direct := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	t.Cleanup(func() { _ = direct.Close() })
	for name, tt := range map[string]struct {
		send func(*redis.Client, redis.Cmder) error
		want string
	}{
		"bare": {func(rdb *redis.Client, cmd redis.Cmder) error { return rdb.Process(t.Context(), cmd) }, "4"},
		"once": {func(rdb *redis.Client, cmd redis.Cmder) error {
			return rdb.Process(t.Context(), redisonce.Cmd{Cmder: cmd})
		}, "1"},
		"once, in a pipeline": {func(rdb *redis.Client, cmd redis.Cmder) error {
			pipe := rdb.Pipeline()
			require.NoError(t, pipe.Process(t.Context(), redisonce.Cmd{Cmder: cmd}))
			_, err := pipe.Exec(t.Context())
			return err
		}, "1"},
		"all of a pipeline": {func(rdb *redis.Client, cmd redis.Cmder) error {
			pipe := rdb.Pipeline()
			require.NoError(t, pipe.BatchProcess(t.Context(), redisonce.All([]redis.Cmder{cmd})...))
			_, err := pipe.Exec(t.Context())
			return err
		}, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := testserver.StartProxy(t, srv.Addr())
			rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 200 * time.Millisecond})
			t.Cleanup(func() { _ = rdb.Close() })
			warmUp(t, rdb, 5)
			proxy.DropReplies()
			cmd := redis.NewIntCmd(t.Context(), "incr", name)
			require.Error(t, tt.send(rdb, cmd))
			require.Error(t, cmd.Err(), "the caller sees it on the command that it holds")
			require.Equal(t, tt.want, direct.Get(t.Context(), name).Val())
		})
	}
}

// warmUp leaves idle connections for every attempt, so that none is lost in a handshake.
func warmUp(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	for range n {
		conn := rdb.Conn()
		require.NoError(t, conn.Ping(t.Context()).Err())
		defer func() { require.NoError(t, conn.Close()) }()
	}
}
