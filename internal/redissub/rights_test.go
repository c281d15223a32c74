package redissub_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redissub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSubscription_RightMissing(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	admin := client(t, server.Addr(), nil)
	for user, tc := range map[string]struct {
		rights []string
		why    string
	}{
		"channel": {[]string{"+subscribe", "+ping", "resetchannels", "&other"}, "NOPERM"},
		"command": {[]string{"+ping", "allchannels"}, "'subscribe' command"},
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, admin.ACLSetUser(t.Context(), user, append([]string{"on", ">secret"}, tc.rights...)...).Err())
			l := start(t, client(t, server.Addr(), func(o *redis.Options) { o.Username, o.Password = user, "secret" }), nil)
			down := l.awaitDown(t)
			require.ErrorContains(t, down, tc.why)
			denied, ok := errors.AsType[redissub.ServerError](down)
			require.True(t, ok)
			require.True(t, denied.Denied())
			require.NoError(t, admin.ACLSetUser(t.Context(), user, "+subscribe", "allchannels").Err())
			l.awaitMessage(t, admin, "allowed")
		})
	}
	t.Run("pattern", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, admin.ACLSetUser(t.Context(), "pattern", "on", ">secret", "+subscribe", "+psubscribe", "resetchannels", "&redissub:*").Err())
		l := start(t, client(t, server.Addr(), func(o *redis.Options) { o.Username, o.Password = "pattern", "secret" }), func(c *redissub.Config) {
			c.Patterns = []string{"other:*"}
		})
		require.ErrorContains(t, l.awaitDown(t), "NOPERM")
		require.Zero(t, l.Stats().Subscriptions, "half a subscription is none")
	})
	t.Run("PING is not needed", func(t *testing.T) {
		t.Parallel()
		for protocol := 2; protocol <= 3; protocol++ {
			user := fmt.Sprintf("mute%d", protocol)
			require.NoError(t, admin.ACLSetUser(t.Context(), user, "on", ">secret", "+subscribe", "allchannels").Err())
			l := listen(t, client(t, server.Addr(), func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, user, "secret" }), nil)
			require.Eventually(t, func() bool {
				stat, err := admin.InfoMap(t.Context(), "commandstats").Result()
				_, after, _ := strings.Cut(stat["Commandstats"]["cmdstat_ping"], "rejected_calls=")
				before, _, _ := strings.Cut(after, ",")
				n, _ := strconv.Atoi(before)
				return err == nil && n > 10*(protocol-1)
			}, 20*time.Second, 10*time.Millisecond)
			require.Equal(t, uint64(1), l.Stats().Subscriptions)
		}
	})
	t.Run("password", func(t *testing.T) {
		t.Parallel()
		l := start(t, client(t, server.Addr(), func(o *redis.Options) { o.Username, o.Password = "nobody", "wrong" }), nil)
		require.ErrorContains(t, l.awaitDown(t), "WRONGPASS")
	})
}
