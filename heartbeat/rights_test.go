package heartbeat_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestRightsError_NamesWhatTheUserNeeds(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	admin := connect(t, server.URL(), nil)
	const (
		set     = "+set ~health:last:s:i"
		publish = "+publish &health:service:s:heartbeat"
		xadd    = "+xadd ~all"
	)
	tests := map[string]struct {
		rules   []any
		missing []string
	}{
		"nothing":         {[]any{"+ping"}, []string{set, publish, xadd}},
		"no key":          {[]any{"+set", "+publish", "+xadd", "&health:*", "~all"}, []string{set}},
		"no channel":      {[]any{"+set", "+publish", "+xadd", "~health:last:*", "~all"}, []string{publish}},
		"no command xadd": {[]any{"+set", "+publish", "&health:*", "~health:last:*", "~all"}, []string{xadd}},
		"enough":          {[]any{"+set", "+publish", "+xadd", "~health:last:s:*", "~all", "&health:service:s:heartbeat"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := unique(t)
			args := append([]any{"acl", "setuser", user, "on", ">pw", "resetchannels", "resetkeys", "-@all"}, tt.rules...)
			require.NoError(t, admin.Do(t.Context(), args...).Err())
			rdb := connect(t, server.URL(), func(opt *redis.Options) { opt.Username, opt.Password = user, "pw" })
			pub := newPublisher(t, rdb, "s", heartbeat.Config{Instance: "i", Stream: "all"})
			err := pub.Beat(t.Context())
			if tt.missing == nil {
				require.NoError(t, err)
				return
			}
			for _, rule := range []string{set, publish, xadd} {
				if contains := "the Redis user needs " + rule; len(tt.missing) == 3 || tt.missing[0] == rule {
					require.ErrorContains(t, err, contains)
				} else {
					require.NotContains(t, err.Error(), contains)
				}
			}
			var rights *heartbeat.RightsError
			require.ErrorAs(t, err, &rights)
			require.Equal(t, tt.missing[0], rights.Rule)
			require.True(t, redis.IsPermissionError(err))
			require.Contains(t, pub.Stats().LastError, "the Redis user needs")
		})
	}
}
