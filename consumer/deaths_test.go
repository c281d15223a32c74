package consumer_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestMaxDeadShare_PausesIntake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		log, logged := logs()
		c := single(t, src, consumer.Config{MaxInFlight: 100, MaxBackoff: time.Minute, Logger: log}, func(context.Context, *message) error {
			return consumer.Permanent(errMessage)
		})
		src.Publish(numbers(1000)...)
		stop := start(t, c)
		pass(time.Second)
		seen := len(src.Dead())
		require.GreaterOrEqual(t, seen, 100, "so many to see it by")
		require.Less(t, seen, 200, "and what was held at that moment")
		require.Contains(t, logged(), `level=ERROR msg="consumer: too many messages are dead letters: intake pauses, and goes on by itself" dead=10`)
		pass(58 * time.Second)
		require.Len(t, src.Dead(), seen)
		pass(2 * time.Second)
		require.Greater(t, len(src.Dead()), seen)
		require.NoError(t, stop())
	})
}

func TestMaxDeadShare_IsThatOfLately(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		log, logged := logs()
		var n atomic.Int64
		c := single(t, src, consumer.Config{MaxInFlight: 10, Logger: log}, func(context.Context, *message) error {
			if n.Add(1) > 20_000 {
				return consumer.Permanent(errMessage)
			}
			return nil
		})
		src.Publish(numbers(23_000)...)
		stop := start(t, c)
		pass(time.Second)
		require.Contains(t, logged(), "too many messages are dead letters")
		require.Less(t, len(src.Dead()), 1100)
		require.NoError(t, stop())
	})
}

func TestMaxDeadShare_LetsAFewPass(t *testing.T) {
	t.Parallel()
	for share, limit := range map[int]float64{3: 0, 1: 1} { // one of three with the default, all of them where nothing is watched
		synctest.Test(t, func(t *testing.T) {
			src := consumertest.NewSource()
			log, logged := logs()
			var n atomic.Int64
			c := single(t, src, consumer.Config{MaxInFlight: 10, MaxDeadShare: limit, Logger: log}, func(context.Context, *message) error {
				if n.Add(1)%int64(share) == 0 {
					return consumer.Permanent(errMessage)
				}
				return nil
			})
			src.Publish(numbers(5000)...)
			stop := start(t, c)
			settled(t, src)
			require.NoError(t, stop())
			require.NotContains(t, logged(), "too many")
		})
	}
}

func TestOutage_IsRememberedEachMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		log, logged := logs()
		c := single(t, src, consumer.Config{MaxBackoff: 5 * time.Second, Logger: log}, func(context.Context, *message) error { return errDown })
		src.Publish("a", "b")
		stop := start(t, c)
		pass(10*time.Minute + 30*time.Second)
		require.InDelta(t, 9, strings.Count(logged(), "still can't be reached"), 1)
		require.Equal(t, 1, strings.Count(logged(), "intake is paused"))
		require.True(t, errors.Is(stop(), nil))
	})
}
