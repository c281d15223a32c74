package redisstream_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// What a server that has forgotten something is found to have lost: entries that wait to be tried again are counted, and of those that nobody
// had read it is told that there may have been some.
func TestSource_TellsWhatTheServerForgot(t *testing.T) {
	t.Parallel()
	const newest = "9000000-0"
	type stream = func(command string, args ...any)
	tests := map[string]struct {
		forget     func(do stream)
		lost, gaps int64
	}{
		"nothing":            {func(stream) {}, 0, 0},
		"the group":          {func(do stream) { do("xgroup destroy", "group") }, 0, 0},
		"what was delivered": {func(do stream) { do("xgroup setid", "group", "1000000-0") }, 0, 0},
		"everything":         {func(do stream) { do("del") }, 1, 1},
		"everything, and it goes on": {func(do stream) {
			do("del")
			do("xadd", "9000001-0", "payload", "new")
		}, 1, 1},
		"what was written last": {func(do stream) {
			do("xdel", newest)
			do("xgroup setid", "group", "2000000-0")
		}, 0, 1},
		"the group and what was written last": {func(do stream) {
			do("xdel", newest)
			do("xgroup destroy", "group")
		}, 0, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := client(t, testserver.StartRedis(t, testserver.RedisConfig{}).URL()) // all connections to which are cut
			ctx := t.Context()
			do := func(command string, args ...any) {
				words := []any{}
				for word := range strings.FieldsSeq(command) {
					words = append(words, word)
				}
				require.NoError(t, rdb.Do(ctx, append(append(words, "s"), args...)...).Err())
			}
			for _, id := range []string{"1000000-0", "2000000-0", newest} {
				do("xadd", id, "payload", id)
			}
			cfg := config("s")
			cfg.Lease, cfg.Block = time.Minute, 10*time.Millisecond
			src, err := redisstream.New(rdb, cfg)
			require.NoError(t, err)
			defer func() { require.NoError(t, src.Close(context.Background())) }()
			credit := consumer.Credit{Count: 10, Bytes: 1000}
			raws, err := src.Receive(ctx, credit)
			require.NoError(t, err)
			require.Len(t, raws, 3)
			require.NoError(t, src.Settle(ctx, []consumer.Outcome{
				{Raw: &raws[0]}, {Raw: &raws[1], Kind: consumer.Retry, After: time.Minute}, {Raw: &raws[2]},
			}))
			tt.forget(do)
			require.NoError(t, rdb.ClientKillByFilter(ctx, "TYPE", "normal").Err()) // have it look again
			for range 3 {
				_, _ = src.Receive(ctx, credit)
			}
			gaps, last := src.Gaps()
			require.Equal(t, tt.gaps, gaps, "%+v", last)
			require.Equal(t, tt.lost, src.Lost())
			if gaps > 0 {
				require.Contains(t, last.Reason, newest)
				require.WithinDuration(t, time.Now(), last.At, time.Minute)
			}
		})
	}
}
