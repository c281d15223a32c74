package redisstream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

// Lua passes no more than 8,000 arguments to a function: an entry with more fields must neither hold up the others nor be lost.
func TestDeadLetters_OfThousandsOfFields(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			t.Parallel()
			const fields = 6000
			rdb, stream := shared(t)
			wide := []any{"payload", "wide"}
			for i := 1; i < fields; i++ {
				wide = append(wide, fmt.Sprintf("field %d", i), i)
			}
			require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: wide}).Err())
			publish(t, rdb, stream, 1, 100)
			cfg := config(stream)
			cfg.Exclusive = exclusive
			c, stop := start(t, rdb, cfg, consumer.Config{MaxInFlight: 10}, func(_ context.Context, m *message) error {
				if string(m.Value) == "wide" {
					return consumer.Permanent(errBad)
				}
				return nil
			})
			require.Eventually(t, func() bool { return c.Stats().MessageCount >= 101 && c.Stats().InFlight == 0 }, patience, 5*time.Millisecond)
			require.NoError(t, stop())
			drained(t, rdb, stream)
			box, err := redisstream.NewDeadLetters(rdb, stream)
			require.NoError(t, err)
			letters := list(t, box)
			require.Len(t, letters, 1)
			require.Equal(t, errBad.Error(), letters[0].Reason)
			require.Len(t, letters[0].Fields, fields)

			n, err := box.ReplayAll(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
			require.Empty(t, list(t, box))
			last, err := rdb.XRevRangeN(t.Context(), stream, "+", "-", 1).Result()
			require.NoError(t, err)
			require.Len(t, last[0].Values, fields+1)
			require.Equal(t, letters[0].MessageID, last[0].Values["upbeat_replayed"])
			require.Equal(t, "5999", last[0].Values["field 5999"])
		})
	}
}
