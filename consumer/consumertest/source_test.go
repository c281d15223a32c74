package consumertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestSource_KeepsTheContract(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("a", "bb", "ccc", "d")
		receive := func(count int, bytes int64) (raws []consumer.Raw) {
			raws, err := src.Receive(t.Context(), consumer.Credit{Count: count, Bytes: bytes})
			require.NoError(t, err)
			return raws
		}
		require.Len(t, receive(1, 100), 1)
		first := receive(3, 4)
		require.Len(t, first, 1, "the next would be too much")
		require.Len(t, receive(3, 1), 1, "one always comes")
		last := receive(3, 100)
		require.Equal(t, "4", last[0].ID)

		settle := func(kind consumer.Kind, after time.Duration, raw *consumer.Raw) error {
			return src.Settle(t.Context(), []consumer.Outcome{{Raw: raw, Kind: kind, After: after}})
		}
		begun := time.Now()
		for range 2 { // the second changes nothing
			require.NoError(t, settle(consumer.Retry, time.Minute, &first[0]))
			require.NoError(t, settle(consumer.Release, 0, &last[0]))
		}
		again := receive(9, 100)
		require.Len(t, again, 1)
		require.Equal(t, "4", again[0].ID)
		require.Equal(t, 1, again[0].Attempt)
		again = receive(9, 100)
		require.Equal(t, time.Minute, time.Since(begun))
		require.Len(t, again, 1)
		require.Equal(t, "2", again[0].ID)
		require.Equal(t, 2, again[0].Attempt)
		require.True(t, again[0].At.Equal(begun))

		broken := errors.New("broken")
		src.Break(broken)
		require.ErrorIs(t, settle(consumer.Ack, 0, &again[0]), broken)
		_, err := src.Receive(t.Context(), consumer.Credit{Count: 1, Bytes: 1})
		require.ErrorIs(t, err, broken)
		src.Break(nil)
		require.NoError(t, settle(consumer.Ack, 0, &again[0]))
		require.Equal(t, []string{"2"}, src.Acked())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, src.Wait(ctx), context.DeadlineExceeded)
		_, err = src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
