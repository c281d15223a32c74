package redisstream_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

// blocks makes each block of the stream hold one entry: what is trimmed about is trimmed exactly then.
func blocks(t *testing.T, rdb *redis.Client) {
	t.Helper()
	require.NoError(t, rdb.ConfigSet(t.Context(), "stream-node-max-entries", "1").Err())
}

func TestTrim_LeavesWhatAnyGroupIsToHandle(t *testing.T) {
	t.Parallel()
	rdb := private(t)
	blocks(t, rdb)
	trim := func(maxLen int64) redisstream.Trimmed {
		t.Helper()
		done, err := redisstream.Trim(t.Context(), rdb, "s", maxLen)
		require.NoError(t, err)
		return done
	}
	require.Zero(t, trim(0), "there is no stream")
	ids := publish(t, rdb, "s", 1, 100)
	require.Zero(t, trim(0), "nobody has read anything")
	read := func(group string, n int64) {
		t.Helper()
		_, err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{"s", ">"}, Count: n}).Result()
		require.NoError(t, err)
	}
	for _, group := range []string{"quick", "slow"} {
		require.NoError(t, rdb.XGroupCreate(t.Context(), "s", group, "0").Err())
	}
	read("quick", 100)
	require.NoError(t, rdb.XAck(t.Context(), "s", "quick", ids...).Err())
	require.Zero(t, trim(0), "the other group has not read anything")
	read("slow", 60)
	require.Zero(t, trim(0), "it has 60 pending")
	require.NoError(t, rdb.XAck(t.Context(), "s", "slow", append(ids[:30:30], ids[40:60]...)...).Err())
	require.Equal(t, redisstream.Trimmed{Settled: 30}, trim(0), "up to the oldest pending one")
	require.NoError(t, rdb.XAck(t.Context(), "s", "slow", ids[30:40]...).Err())
	require.Equal(t, redisstream.Trimmed{Settled: 30}, trim(0), "up to what was delivered")
	require.EqualValues(t, 40, rdb.XLen(t.Context(), "s").Val())

	read("slow", 5)
	require.NoError(t, rdb.XAck(t.Context(), "s", "slow", ids[60:65]...).Err())
	require.Equal(t, redisstream.Trimmed{Settled: 5}, trim(35))
	require.Equal(t, redisstream.Trimmed{Lost: 25}, trim(10), "a limit takes what is not handled")
	require.Equal(t, ids[90], rdb.XRange(t.Context(), "s", "-", "+").Val()[0].ID)
	read("slow", 100)
	require.NoError(t, rdb.XAck(t.Context(), "s", "slow", ids...).Err())
	require.Equal(t, redisstream.Trimmed{Settled: 10}, trim(1))
	_, err := redisstream.Trim(t.Context(), rdb, "s", -1)
	require.ErrorContains(t, err, "maxLen is -1")
}

// A block of a hundred entries, half of them settled: what goes with a limit is told apart.
func TestTrim_TellsLossFromTheRest(t *testing.T) {
	t.Parallel()
	rdb := private(t)
	ids := publish(t, rdb, "s", 1, 150)
	require.NoError(t, rdb.XGroupCreate(t.Context(), "s", "group", ids[49]).Err())
	done, err := redisstream.Trim(t.Context(), rdb, "s", 150)
	require.NoError(t, err)
	require.Zero(t, done)
	done, err = redisstream.Trim(t.Context(), rdb, "s", 40)
	require.NoError(t, err)
	require.Equal(t, redisstream.Trimmed{Settled: 50, Lost: 50}, done)
}

// Trimming all the time takes nothing away from a consumer whose messages fail, wait and come again.
func TestTrim_UnderAConsumer(t *testing.T) {
	t.Parallel()
	rdb := private(t)
	blocks(t, rdb)
	publish(t, rdb, "s", 1, 1000)
	var seen, tries tally
	c, _ := start(t, rdb, config("s"), consumer.Config{MinBackoff: 20 * time.Millisecond, MaxInFlight: 100}, func(_ context.Context, m *message) error {
		if tries.add(m); m.Attempt < 3 && m.Value[len(m.Value)-1] == '7' {
			return errBad
		}
		seen.add(m)
		return nil
	})
	removed := int64(0)
	require.Eventually(t, func() bool {
		done, err := redisstream.Trim(t.Context(), rdb, "s", 0)
		require.NoError(t, err)
		require.Zero(t, done.Lost)
		removed += done.Settled
		return removed == 1000
	}, patience, time.Millisecond)
	seen.has(t, 1, 1000)
	require.Equal(t, 1200, tries.total())
	require.Zero(t, c.Stats().Lost)
}
