package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func numbered(n int) []string {
	payloads := make([]string, n)
	for i := range payloads {
		payloads[i] = fmt.Sprint(i + 1)
	}
	return payloads
}

func TestConsumer_HandlesEveryMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(10_000)...)
		var seen journal[string]
		c := single(t, src, consumer.Config{MaxInFlight: 100}, func(_ context.Context, m *consumer.Message[[]byte]) error {
			seen.add(string(m.Value))
			return nil
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.ElementsMatch(t, numbered(10_000), seen.all())
		require.ElementsMatch(t, numbered(10_000), src.Acked())

		s := c.Stats()
		require.EqualValues(t, 10_000, s.MessageCount)
		require.Zero(t, s.ErrorCount)
		require.Zero(t, s.InFlight)
		require.Zero(t, s.InFlightBytes)
		require.False(t, s.Running)
	})
}

func TestConsumer_DecodesIntoTheHandlersType(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type order struct {
			ID    int    `json:"id"`
			Buyer string `json:"buyer"`
		}
		src := consumertest.NewSource()
		src.Publish(`{"id":7,"buyer":"ann"}`, `{"id":"x"}`, `not json`)
		var seen journal[order]
		c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[order]) error {
			seen.add(m.Value)
			return nil
		}, consumer.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.Equal(t, []order{{ID: 7, Buyer: "ann"}}, seen.all())
		require.ElementsMatch(t, []string{"2", "3"}, src.Dead(), "what can't be decoded is dead at once")
		for _, o := range src.Outcomes() {
			require.Equal(t, 1, o.Attempt)
		}
	})
}

func TestConsumer_RunsAtMostConcurrencyHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(50)...)
		var running, most atomic.Int64
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error {
			most.Store(max(most.Load(), running.Add(1)))
			pass(time.Second)
			running.Add(-1)
			return nil
		})
		stop := start(t, c)
		begun := time.Now()
		settled(t, src)
		require.Equal(t, 7*time.Second, time.Since(begun), "50 seconds of work, 8 at once")
		require.NoError(t, stop())
		require.EqualValues(t, 8, most.Load())
	})
}

func TestConsumer_WakesAllWorkersForOneRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		release := make(chan struct{})
		var running atomic.Int64
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error {
			running.Add(1)
			<-release
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		src.Publish(numbered(20)...)
		synctest.Wait()
		require.EqualValues(t, 8, running.Load())
		close(release)
		require.NoError(t, stop())
	})
}

func TestConsumer_HoldsNoMoreThanItMay(t *testing.T) {
	tests := map[string]struct {
		cfg  consumer.Config
		want int
	}{
		"messages": {consumer.Config{MaxInFlight: 10}, 10},
		"bytes":    {consumer.Config{MaxBytes: 2000}, 20},
		"no limit": {consumer.Config{MaxBytes: -1}, 100},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				for range 100 {
					src.Publish(strings.Repeat("x", 100))
				}
				release := make(chan struct{})
				c := single(t, src, tt.cfg, func(context.Context, *consumer.Message[[]byte]) error {
					<-release
					return nil
				})
				stop := start(t, c)
				synctest.Wait()
				require.Equal(t, tt.want, c.Stats().InFlight)
				require.EqualValues(t, 100*tt.want, c.Stats().InFlightBytes)
				waiting, err := src.Lag(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 100-tt.want, waiting)
				close(release)
				settled(t, src)
				require.NoError(t, stop())
				require.Zero(t, c.Stats().InFlightBytes)
			})
		})
	}
}

func TestConsumer_LosesNothingWhileTheSourceIsBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(100)...)
		logger, written := logs()
		handling := make(chan struct{})
		c := single(t, src, consumer.Config{Logger: logger}, func(context.Context, *consumer.Message[[]byte]) error {
			<-handling
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		src.Break(errDown)
		close(handling)
		pass(10 * time.Second)
		require.Empty(t, src.Acked())
		require.Equal(t, 100, c.Stats().InFlight, "what isn't settled is in flight")
		src.Break(nil)
		settled(t, src)
		require.NoError(t, stop())
		require.Len(t, src.Acked(), 100)
		require.EqualValues(t, 100, c.Stats().MessageCount, "none was handled twice")
		require.Equal(t, 1, strings.Count(written(), "can't settle messages"))
		require.Equal(t, 1, strings.Count(written(), "can settle messages again"))
	})
}

func TestConsumer_GoesOnAfterASourcePanicked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &fragile{Source: consumertest.NewSource()}
		src.Publish(numbered(10)...)
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		stop := start(t, c)
		settled(t, src.Source)
		require.NoError(t, stop())
	})
}

// fragile panics at the first call of each method.
type fragile struct {
	*consumertest.Source
	received, settled atomic.Bool
}

func (f *fragile) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	if !f.received.Swap(true) {
		panic("receive")
	}
	return f.Source.Receive(ctx, credit)
}

func (f *fragile) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	if !f.settled.Swap(true) {
		panic("settle")
	}
	return f.Source.Settle(ctx, outcomes)
}

func TestConsumer_DoesNothingWhenDisabled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("x")
		c := single(t, src, consumer.Config{Disabled: true}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		stop := start(t, c)
		pass(time.Hour)
		require.Empty(t, src.Outcomes())
		require.True(t, c.Stats().Running)
		require.NoError(t, stop())
	})
}

func TestConsumer_RunsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := single(t, consumertest.NewSource(), consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		require.NoError(t, start(t, c)())
		require.ErrorContains(t, c.Run(t.Context()), "called before")
	})
}

func TestStats_AreNamedAsPromised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		before, err := json.Marshal(c.Stats())
		require.NoError(t, err)
		require.JSONEq(t, `{"running":false,"message_count":0,"error_count":0,"error_rate":0,"uptime_seconds":0,"in_flight":0,
			"in_flight_bytes":0,"retried":0,"dead":0,"lost":0,"gaps":0,"leases_lost":0,"lag":-1,"outage":false,
			"concurrency":8,"active":0,"paused":false,
			"latency":{"p50_seconds":0,"p95_seconds":0,"p99_seconds":0},"handling":{"p50_seconds":0,"p95_seconds":0,"p99_seconds":0}}`, string(before))
		stop := start(t, c)
		src.Publish("x")
		settled(t, src)
		handled := time.Now()
		pass(90 * time.Second)
		s := c.Stats()
		require.True(t, s.Running)
		require.InDelta(t, 90, s.UptimeSeconds, 1e-9)
		require.True(t, handled.Equal(s.LastMessageTime))
		require.Zero(t, s.Lag)
		require.NoError(t, stop())
	})
}

func TestStats_Percentiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{Concurrency: 1}, func(context.Context, *consumer.Message[[]byte]) error {
			pass(time.Second)
			return nil
		})
		src.Publish(numbers(50)...)
		stop := start(t, c)
		settled(t, src)
		s := c.Stats()
		require.InDelta(t, 1, s.Handling.P50, 0.04)
		require.InDelta(t, 1, s.Handling.P99, 0.04)
		require.InDelta(t, 25, s.Latency.P50, 1)
		require.InDelta(t, 48, s.Latency.P95, 2)
		require.InDelta(t, 50, s.Latency.P99, 2)
		pass(5 * time.Minute)
		require.Zero(t, c.Stats().Latency, "that was long ago")
		require.NoError(t, stop())
	})
}
