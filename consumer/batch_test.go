package consumer_test

import (
	"context"
	"errors"
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

func exit() { runtime.Goexit() }

type batch = []*consumer.Message[[]byte]

type indexError struct{ index int }

func (e *indexError) Error() string    { return fmt.Sprintf("row %d is wrong", e.index) }
func (e *indexError) FailedIndex() int { return e.index }

func isBad(m *consumer.Message[[]byte]) bool { return string(m.Value) == "bad" }

// hints are the ways in which a handler of batches tells which messages are bad, or does not.
var hints = map[string]struct {
	handle func(b batch) error
	calls  int // at most, per round
}{
	"marked": {func(b batch) error {
		for _, m := range b {
			if isBad(m) {
				m.Fail(errMessage)
			}
		}
		return nil
	}, 2},
	"marked, and an error": {func(b batch) error {
		for _, m := range b {
			if isBad(m) {
				m.Fail(errMessage)
			}
		}
		if slices.ContainsFunc(b, isBad) {
			return errors.New("transaction was rolled back")
		}
		return nil
	}, 3},
	"named by index": {func(b batch) error {
		if i := slices.IndexFunc(b, isBad); i >= 0 {
			return fmt.Errorf("insert: %w", &indexError{i})
		}
		return nil
	}, 5},
	"named by index in another order": {func(b batch) error {
		slices.Reverse(b)
		if i := slices.IndexFunc(b, isBad); i >= 0 {
			return &indexError{i}
		}
		return nil
	}, 5},
	"named by an index that isn't there": {func(b batch) error {
		if slices.ContainsFunc(b, isBad) {
			return &indexError{len(b)}
		}
		return nil
	}, 50},
	"emptied by the handler": {func(b batch) error {
		bad := slices.ContainsFunc(b, isBad)
		clear(b)
		if bad {
			return errMessage
		}
		return nil
	}, 50},
	"not named": {func(b batch) error {
		if slices.ContainsFunc(b, isBad) {
			return errMessage
		}
		return nil
	}, 50},
	"in panic": {func(b batch) error {
		if slices.ContainsFunc(b, isBad) {
			panic("bad")
		}
		return nil
	}, 50},
}

func TestBatch_OfBadAndGoodMessages(t *testing.T) {
	for name, tt := range hints {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				payloads := numbered(100)
				payloads[0], payloads[41], payloads[42] = "bad", "bad", "bad"
				src.Publish(payloads...)
				calls := 0
				var done journal[string]
				c := batches(t, src, consumer.Config{Concurrency: 1, MaxAttempts: 2}, func(_ context.Context, b []*consumer.Message[[]byte]) error {
					calls++
					copied := slices.Clone(b)
					err := tt.handle(b)
					for _, m := range copied {
						if err == nil && !isBad(m) {
							done.add(string(m.Value))
						}
					}
					return err
				})
				stop := start(t, c)
				synctest.Wait()
				require.Len(t, src.Acked(), 97)
				require.LessOrEqual(t, calls, tt.calls)
				settled(t, src)
				require.NoError(t, stop())
				dead := src.Dead()
				slices.Sort(dead)
				require.Equal(t, []string{"1", "42", "43"}, dead)
				require.Len(t, done.all(), 97, "a good message was done twice")
				require.EqualValues(t, 3, c.Stats().Retried)
				for _, o := range src.Outcomes() {
					var p *consumer.PanicError
					require.Equal(t, name == "in panic" && o.Kind != consumer.Ack, errors.As(o.Err, &p))
				}
			})
		})
	}
}

func TestBatch_AllMarkedAsUnreachableIsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(10)...)
		c := batches(t, src, consumer.Config{}, func(_ context.Context, b []*consumer.Message[[]byte]) error {
			for _, m := range b {
				m.Fail(errDown)
			}
			return nil
		})
		stop := start(t, c)
		pass(time.Minute)
		require.True(t, c.Stats().Outage)
		require.Empty(t, src.Outcomes())
		require.NoError(t, stop())
	})
}

func TestBatch_SomeMarkedAsUnreachableComeAgainLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("bad", "good", "bad", "bad")
		begun := time.Now()
		c := batches(t, src, consumer.Config{}, func(_ context.Context, b []*consumer.Message[[]byte]) error {
			for _, m := range b {
				if isBad(m) && time.Since(begun) < 5*time.Minute {
					m.Fail(errDown)
				}
			}
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		require.Equal(t, []string{"2"}, src.Acked())
		settled(t, src)
		require.NoError(t, stop())
		require.Empty(t, src.Dead())
		require.Less(t, len(src.Outcomes()), 100, "a hot loop")
	})
}

func TestBatch_GoesAsSoonAsAHandlerIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		var sizes journal[int]
		c := batches(t, src, consumer.Config{Concurrency: 1, BatchSize: 40}, func(_ context.Context, b []*consumer.Message[[]byte]) error {
			sizes.add(len(b))
			pass(time.Second)
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		src.Publish("first")
		synctest.Wait()
		require.Equal(t, []int{1}, sizes.all(), "it doesn't wait for others")
		src.Publish(numbered(100)...)
		settled(t, src)
		require.NoError(t, stop())
		require.Equal(t, []int{1, 40, 40, 20}, sizes.all())
	})
}

func TestBatch_KeepsTheOrderOfReceipt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(1000)...)
		var seen journal[string]
		cfg := consumer.Config{Concurrency: 1, BatchSize: 7, MaxInFlight: 13}
		c := batches(t, src, cfg, func(_ context.Context, b []*consumer.Message[[]byte]) error {
			for _, m := range b {
				seen.add(string(m.Value))
			}
			return nil
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.Equal(t, numbered(1000), seen.all())
	})
}

func TestBatch_GoexitFailsWhatIsUndecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(10)...)
		calls := 0
		c := batches(t, src, consumer.Config{Concurrency: 1}, func(_ context.Context, b []*consumer.Message[[]byte]) error {
			if calls++; calls == 1 {
				return &indexError{3}
			}
			if calls == 2 {
				exit()
			}
			return nil
		})
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.Len(t, src.Acked(), 10)
		require.EqualValues(t, 10, c.Stats().Retried, "each once")
	})
}
