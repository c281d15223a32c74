package consumer_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestOutage_MakesNoDeadLetters(t *testing.T) {
	tests := map[string]struct{ batch bool }{"singly": {false}, "in batches": {true}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				src.Publish(numbered(1000)...)
				logger, written := logs()
				var down atomic.Bool
				var calls atomic.Int64
				down.Store(true)
				other := func() error {
					calls.Add(1)
					if down.Load() {
						return errDown
					}
					return nil
				}
				cfg := consumer.Config{MaxInFlight: 500, Logger: logger}
				var c *consumer.Consumer[[]byte]
				if tt.batch {
					cfg.BatchSize = 30
					c = batches(t, src, cfg, func(context.Context, []*consumer.Message[[]byte]) error { return other() })
				} else {
					c = single(t, src, cfg, func(context.Context, *consumer.Message[[]byte]) error { return other() })
				}
				stop := start(t, c)
				pass(24 * time.Hour)
				require.Empty(t, src.Outcomes(), "all stay pending")
				require.True(t, c.Stats().Outage)
				// 8 workers with four tries each, then one probe every 24 to 30 s.
				require.LessOrEqual(t, calls.Load(), int64(32+24*3600/24+2))
				require.GreaterOrEqual(t, calls.Load(), int64(24*3600/30))

				src.Publish(numbered(100)...)
				synctest.Wait()
				waiting, err := src.Lag(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 600, waiting, "intake is paused")

				down.Store(false)
				back := time.Now()
				settled(t, src)
				require.LessOrEqual(t, time.Since(back), 30*time.Second)
				require.NoError(t, stop())
				require.Empty(t, src.Dead())
				require.Len(t, src.Acked(), 1100)
				for _, o := range src.Outcomes() {
					require.Equal(t, 1, o.Attempt, "an attempt was counted")
				}
				require.Equal(t, 1, strings.Count(written(), "intake is paused"))
				require.Equal(t, 1, strings.Count(written(), "intake goes on"))
				require.False(t, c.Stats().Outage)
			})
		})
	}
}

func TestOutage_PausesIntake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return errDown })
		stop := start(t, c)
		for round := range 3 {
			src.Publish(numbered(10)...)
			pass(time.Minute)
			waiting, err := src.Lag(t.Context())
			require.NoError(t, err)
			// The read that had begun before the outage still returns.
			require.EqualValues(t, max(0, 10*(round-1)), waiting)
		}
		require.NoError(t, stop())
	})
}

// After the outage that it seemed to be, the message is not given any more time of a handler's.
func TestOutage_PutsItsSuspectAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("cursed", "1", "2")
		c := single(t, src, consumer.Config{Concurrency: 1}, func(_ context.Context, m *consumer.Message[[]byte]) error {
			if string(m.Value) == "cursed" {
				return errDown
			}
			return nil
		})
		stop := start(t, c)
		pass(7*time.Second + 16*time.Second + 30*time.Second)
		outcomes := src.Outcomes()
		require.Len(t, outcomes, 3)
		require.Equal(t, "1", outcomes[2].ID)
		require.Equal(t, consumer.Release, outcomes[2].Kind)
		require.Equal(t, 30*time.Second, outcomes[2].After)
		require.NoError(t, stop())
	})
}

func TestOutage_QuickTriesBridgeAShortOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(100)...)
		logger, written := logs()
		begun := time.Now()
		c := single(t, src, consumer.Config{Logger: logger}, func(context.Context, *consumer.Message[[]byte]) error {
			if time.Since(begun) < 4*time.Second {
				return errDown
			}
			return nil
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.LessOrEqual(t, time.Since(begun), 7*time.Second)
		require.Len(t, src.Acked(), 100)
		require.NotContains(t, written(), "paused")
	})
}

// A message that always looks like an outage must not stop the others, nor die.
func TestOutage_OfASingleMessageIsIsolated(t *testing.T) {
	tests := map[string]struct {
		concurrency int
		batch       bool
	}{
		"one handler":       {1, false},
		"eight handlers":    {8, false},
		"one batch handler": {1, true},
		"batch handlers":    {8, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				var calls atomic.Int64
				isCursed := func(m *consumer.Message[[]byte]) bool { return string(m.Value) == "cursed" }
				handle := func(batch ...*consumer.Message[[]byte]) error {
					calls.Add(1)
					if slices.ContainsFunc(batch, isCursed) {
						return errDown
					}
					return nil
				}
				cfg := consumer.Config{Concurrency: tt.concurrency}
				var c *consumer.Consumer[[]byte]
				if tt.batch {
					cfg.BatchSize = 50
					c = batches(t, src, cfg, func(_ context.Context, batch []*consumer.Message[[]byte]) error { return handle(batch...) })
				} else {
					c = single(t, src, cfg, func(_ context.Context, m *consumer.Message[[]byte]) error { return handle(m) })
				}
				src.Publish(numbered(20)...)
				src.Publish("cursed")
				src.Publish(numbered(20)...)
				stop := start(t, c)
				pass(10 * time.Minute)
				require.Len(t, src.Acked(), 40)
				require.Empty(t, src.Dead())
				require.LessOrEqual(t, calls.Load(), int64(250), "a hot loop")
				require.NoError(t, stop())
			})
		})
	}
}

func TestOutage_EndsWithTheConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(100)...)
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return errDown })
		stop := start(t, c)
		pass(5 * time.Minute)
		begun := time.Now()
		require.NoError(t, stop())
		require.Zero(t, time.Since(begun))
		require.Len(t, src.Outcomes(), 100)
		for _, o := range src.Outcomes() {
			require.Equal(t, consumer.Release, o.Kind)
		}
	})
}

// Messages that fail by themselves while an outage is on are judged, and the last one of them leaves no outage behind.
func TestOutage_IsProbedPastBadMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		var down atomic.Bool
		down.Store(true)
		c := batches(t, src, consumer.Config{Concurrency: 1, MaxAttempts: 1}, func(_ context.Context, batch []*consumer.Message[[]byte]) error {
			if len(batch) == 1 && string(batch[0].Value) == "bad" {
				return errMessage
			}
			if down.Load() {
				return errDown
			}
			return nil
		})
		src.Publish("bad", "bad")
		stop := start(t, c)
		pass(5 * time.Minute)
		require.Equal(t, []string{"2", "1"}, src.Dead())
		require.False(t, c.Stats().Outage, "nothing left to probe with")
		down.Store(false)
		src.Publish("good")
		settled(t, src)
		require.NoError(t, stop())
	})
}

// The handler that probes ends its goroutine: another one has to go on.
func TestOutage_SurvivesALostProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		begun := time.Now()
		var lost atomic.Bool
		c := single(t, src, consumer.Config{Concurrency: 1}, func(context.Context, *consumer.Message[[]byte]) error {
			switch since := time.Since(begun); {
			case since < 8*time.Second:
				return errDown
			case !lost.Swap(true):
				exit()
			}
			return nil
		})
		src.Publish(numbered(10)...)
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.True(t, lost.Load())
		require.Len(t, src.Acked(), 10)
	})
}
