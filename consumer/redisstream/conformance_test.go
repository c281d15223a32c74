package redisstream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSource_KeepsTheContract(t *testing.T) {
	t.Parallel()
	consumertest.TestSource(t, func(tb testing.TB) consumertest.Harness {
		tb.Helper()
		direct, stream := shared(tb)
		proxy := testserver.StartProxy(tb, direct.Options().Addr)
		rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 500 * time.Millisecond})
		tb.Cleanup(func() { require.NoError(tb, rdb.Close()) })
		streams := []string{stream}
		open := func() consumer.Source {
			cfg := config(stream)
			cfg.Streams, cfg.Lease = streams, time.Second
			src, err := redisstream.New(rdb, cfg)
			require.NoError(tb, err)
			return src
		}
		each := func(do func(stream string) redis.Cmder) {
			for _, s := range streams {
				require.NoError(tb, do(s).Err())
			}
		}
		return consumertest.Harness{
			Open: open,
			OpenMany: func() consumer.Source {
				streams = append(streams, stream+":2", stream+":3")
				return open()
			},
			Publish: func(payloads ...[]byte) {
				pipe := direct.Pipeline()
				for i, p := range payloads {
					pipe.XAdd(tb.Context(), &redis.XAddArgs{Stream: streams[i%len(streams)], Values: []any{"payload", p}})
				}
				_, err := pipe.Exec(tb.Context())
				require.NoError(tb, err)
			},
			Dead: func() (payloads [][]byte) {
				dead, err := direct.XRange(tb.Context(), stream+":dead", "-", "+").Result()
				require.NoError(tb, err)
				for _, e := range dead {
					payloads = append(payloads, []byte(e.Values["payload"].(string)))
				}
				return payloads
			},
			Break: func() func() {
				proxy.Refuse()
				return proxy.Pass
			},
			LoseReplies: func() func() {
				proxy.DropReplies()
				return proxy.Pass
			},
			Trim:  func() { each(func(s string) redis.Cmder { return direct.XTrimMaxLen(tb.Context(), s, 0) }) },
			Evict: func() { each(func(s string) redis.Cmder { return direct.Del(tb.Context(), s) }) },
			Jump: func() {
				ahead := fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())
				each(func(s string) redis.Cmder { return direct.Do(tb.Context(), "XSETID", s, ahead) })
			},
		}
	})
}
