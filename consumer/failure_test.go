package consumer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestConsumer_TriesAFailedMessageAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("bad", "good")
		var at journal[time.Duration]
		begun := time.Now()
		c := single(t, src, consumer.Config{Concurrency: 1}, func(_ context.Context, m *consumer.Message[[]byte]) error {
			if string(m.Value) == "good" {
				return nil
			}
			at.add(time.Since(begun))
			require.Len(t, at.all(), m.Attempt)
			if m.Attempt < 4 {
				return errMessage
			}
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		require.Equal(t, []string{"2"}, src.Acked(), "the bad one holds nobody up")
		settled(t, src)
		require.NoError(t, stop())
		require.Equal(t, []string{"2", "1"}, src.Acked())
		for i, pause := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
			if i > 0 {
				took := at.all()[i] - at.all()[i-1]
				require.LessOrEqual(t, took, pause)
				require.GreaterOrEqual(t, took, pause*8/10)
			}
		}
		s := c.Stats()
		require.EqualValues(t, 5, s.MessageCount)
		require.EqualValues(t, 3, s.ErrorCount)
		require.InDelta(t, 0.6, s.ErrorRate, 1e-9)
		require.EqualValues(t, 3, s.Retried)
		require.Zero(t, s.Dead)
	})
}

func TestConsumer_GivesUpOnAMessage(t *testing.T) {
	tests := map[string]struct {
		cfg      consumer.Config
		handle   func() error
		attempts int
	}{
		"after five attempts":    {consumer.Config{}, func() error { return errMessage }, 5},
		"after as many as asked": {consumer.Config{MaxAttempts: 2}, func() error { return errMessage }, 2},
		"whatever it would be":   {consumer.Config{}, func() error { return consumer.Permanent(context.DeadlineExceeded) }, 1},
		"at once if permanent":   {consumer.Config{}, func() error { return fmt.Errorf("no: %w", consumer.Permanent(errMessage)) }, 1},
		"that panics":            {consumer.Config{}, func() error { panic("boom") }, 5},
		"that panics with nil":   {consumer.Config{MaxAttempts: 1}, func() error { panic(nil) }, 1}, //nolint:govet // on purpose
		"that ends its goroutine": {consumer.Config{Concurrency: 1}, func() error {
			runtime.Goexit()
			return nil
		}, 5},
		"whose error can't be classified": {consumer.Config{IsTransient: func(error) bool { panic("no idea") }}, func() error { return errMessage }, 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				src.Publish("bad", "good", "good", "good")
				c := single(t, src, tt.cfg, func(_ context.Context, m *consumer.Message[[]byte]) error {
					if string(m.Value) == "bad" {
						return tt.handle()
					}
					return nil
				})
				stop := start(t, c)
				settled(t, src)
				require.NoError(t, stop())
				require.Equal(t, []string{"1"}, src.Dead())
				require.Len(t, src.Acked(), 3)
				last := src.Outcomes()[len(src.Outcomes())-1]
				if tt.attempts == 1 {
					last = dead(src)
				}
				require.Equal(t, tt.attempts, last.Attempt)
				require.Error(t, last.Err)
				require.EqualValues(t, 1, c.Stats().Dead)
			})
		})
	}
}

func dead(src *consumertest.Source) (last consumer.Outcome) {
	for _, o := range src.Outcomes() {
		if o.Kind == consumer.Dead {
			last = o
		}
	}
	return last
}

func TestConsumer_TellsWhereItPanicked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("x")
		c := single(t, src, consumer.Config{MaxAttempts: 1}, func(context.Context, *consumer.Message[[]byte]) error {
			panic(errMessage)
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		var p *consumer.PanicError
		require.ErrorAs(t, dead(src).Err, &p)
		require.ErrorIs(t, p, errMessage)
		require.Contains(t, string(p.Stack), "TestConsumer_TellsWhereItPanicked")
	})
}

func TestConsumer_HandsDeadLettersToTheConfig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("bad", "good")
		var kept journal[string]
		tries := 0
		cfg := consumer.Config{MaxAttempts: 1, DeadLetter: func(_ context.Context, dead []consumer.DeadLetter) error {
			if tries++; tries < 3 {
				require.NotContains(t, src.Acked(), "1", "acked before it was kept")
				return errDown
			}
			for _, d := range dead {
				kept.add(fmt.Sprintf("%s %s: %v", d.ID, d.Payload, d.Err))
			}
			return nil
		}}
		c := single(t, src, cfg, func(_ context.Context, m *consumer.Message[[]byte]) error {
			if string(m.Value) == "bad" {
				return errMessage
			}
			return nil
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.Equal(t, []string{"1 bad: this message is wrong"}, kept.all())
		require.Equal(t, []string{"2", "1"}, src.Acked())
	})
}

// noGraves is a source that keeps no dead letters, as during an outage.
type noGraves struct{ *consumertest.Source }

func (s noGraves) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	if slices.ContainsFunc(outcomes, func(o consumer.Outcome) bool { return o.Kind == consumer.Dead }) {
		return errDown
	}
	return s.Source.Settle(ctx, outcomes)
}

// One letter that the source can't store must not keep all others from being acked: intake would end with the credit.
func TestConsumer_ADeadLetterThatCannotBeKeptHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("bad")
		c := single(t, noGraves{src}, consumer.Config{Concurrency: 1, MaxInFlight: 10}, func(_ context.Context, m *consumer.Message[[]byte]) error {
			if string(m.Value) == "bad" {
				return consumer.Permanent(errMessage)
			}
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		for range 100 {
			src.Publish("good")
		}
		pass(time.Minute)
		require.Len(t, src.Acked(), 100)
		require.Equal(t, 1, c.Stats().InFlight)
		require.ErrorContains(t, stop(), "outcomes of 1 messages could not be stored")
	})
}
