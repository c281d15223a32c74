package consumer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestRun_DrainsCleanly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(100)...)
		c := single(t, src, consumer.Config{}, func(ctx context.Context, _ *consumer.Message[[]byte]) error {
			pass(5 * time.Second)
			return ctx.Err()
		})
		stop := start(t, c)
		pass(time.Second)
		require.NoError(t, stop())
		kinds := map[consumer.Kind]int{}
		for _, o := range src.Outcomes() {
			kinds[o.Kind]++
			require.Zero(t, o.After)
			require.Equal(t, 1, o.Attempt)
		}
		require.Equal(t, map[consumer.Kind]int{consumer.Ack: 8, consumer.Release: 92}, kinds)
		require.EqualValues(t, 8, c.Stats().MessageCount, "what wasn't started isn't counted")

		// A successor gets the rest.
		c = single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		stop = start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		require.Len(t, src.Acked(), 100)
	})
}

func TestRun_GivesBackWhatWaitsBeforeHandlersEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(100)...)
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error {
			pass(15 * time.Second)
			return nil
		})
		stop := start(t, c)
		pass(time.Second)
		stopped := make(chan error)
		go func() { stopped <- stop() }()
		synctest.Wait()
		require.Len(t, src.Outcomes(), 92, "others could have them by now")
		require.NoError(t, <-stopped)
	})
}

// late delivers when it is told to stop, as a reply may that was on its way.
type late struct{ *consumertest.Source }

func (l late) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	<-ctx.Done()
	pass(time.Second)
	raws, _ := l.Source.Receive(ctx, credit)
	return raws, ctx.Err()
}

func TestRun_GivesBackWhatComesTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := late{consumertest.NewSource()}
		src.Publish("x", "y")
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
		stop := start(t, c)
		synctest.Wait()
		require.NoError(t, stop())
		require.Len(t, src.Outcomes(), 2)
		require.Equal(t, consumer.Release, src.Outcomes()[0].Kind)
	})
}

func TestRun_CancelsHandlersThatTakeTooLong(t *testing.T) {
	tests := map[string]struct {
		cfg  consumer.Config
		want time.Duration
	}{
		"by default":  {consumer.Config{}, 20 * time.Second},
		"as asked":    {consumer.Config{DrainTimeout: time.Minute}, time.Minute},
		"immediately": {consumer.Config{DrainTimeout: -1}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				src.Publish("x")
				c := single(t, src, tt.cfg, func(ctx context.Context, _ *consumer.Message[[]byte]) error {
					<-ctx.Done()
					return context.Cause(ctx)
				})
				stop := start(t, c)
				synctest.Wait()
				begun := time.Now()
				err := stop()
				require.Equal(t, tt.want, time.Since(begun))
				require.ErrorIs(t, err, consumer.ErrDrainTimeout)
				require.ErrorContains(t, err, "messages 1")
				require.Len(t, src.Outcomes(), 1)
				require.Equal(t, consumer.Release, src.Outcomes()[0].Kind, "the message did nothing wrong")
			})
		})
	}
}

func TestRun_ReturnsNilAtOnceWhenIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := single(t, consumertest.NewSource(), consumer.Config{DrainTimeout: -1},
			func(context.Context, *consumer.Message[[]byte]) error { return nil })
		stop := start(t, c)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, stop())
		require.Zero(t, time.Since(begun))
	})
}

func TestRun_NamesADeafHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("x", "y")
		wake := make(chan struct{})
		c := single(t, src, consumer.Config{}, func(_ context.Context, m *consumer.Message[[]byte]) error {
			if string(m.Value) == "y" {
				<-wake
			}
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		begun := time.Now()
		err := stop()
		require.LessOrEqual(t, time.Since(begun), 30*time.Second)
		require.ErrorContains(t, err, "ignore their context still run: messages 2")
		require.Equal(t, []string{"1"}, src.Acked(), "the others were settled")
		close(wake) // it must not disturb anybody when it ends at last
		synctest.Wait()
		require.Equal(t, []string{"1"}, src.Acked())
	})
}

func TestRun_SaysWhatItCouldNotStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish(numbered(10)...)
		c := single(t, src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error {
			src.Break(errDown)
			return nil
		})
		stop := start(t, c)
		synctest.Wait()
		begun := time.Now()
		err := stop()
		require.ErrorContains(t, err, "outcomes of 10 messages could not be stored")
		require.LessOrEqual(t, time.Since(begun), 10*time.Second)
	})
}

// deaf is a source whose methods hang on demand.
type deaf struct {
	*consumertest.Source
	wake                           chan struct{}
	receive, settle, closing, lags bool
}

func (d *deaf) Receive(ctx context.Context, credit consumer.Credit) ([]consumer.Raw, error) {
	raws, err := d.Source.Receive(ctx, credit)
	if d.receive && err != nil {
		<-d.wake
	}
	return raws, err
}

func (d *deaf) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	if d.settle {
		<-d.wake
	}
	return d.Source.Settle(ctx, outcomes)
}

func (d *deaf) Lag(context.Context) (int64, error) {
	if d.lags {
		<-d.wake
	}
	return 0, nil
}

func (d *deaf) Close(context.Context) error {
	if d.closing {
		<-d.wake
	}
	return errMessage
}

func TestRun_NamesADeafSource(t *testing.T) {
	tests := map[string]struct {
		src  *deaf
		want string
	}{
		"receive": {&deaf{receive: true}, "Receive ignores its context"},
		"settle":  {&deaf{settle: true}, "Settle ignores its context"},
		"lag":     {&deaf{lags: true}, "Extend or Lag ignores its context"},
		"close":   {&deaf{closing: true}, "Close ignores its context"},
		"none":    {&deaf{}, errMessage.Error()}, // Close's own
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tt.src.Source, tt.src.wake = consumertest.NewSource(), make(chan struct{})
				tt.src.Publish("x")
				c := single(t, tt.src, consumer.Config{}, func(context.Context, *consumer.Message[[]byte]) error { return nil })
				stop := start(t, c)
				synctest.Wait()
				begun := time.Now()
				require.ErrorContains(t, stop(), tt.want)
				require.LessOrEqual(t, time.Since(begun), 30*time.Second)
				close(tt.src.wake)
			})
		})
	}
}

func TestRun_SettlesOnAFreshContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		src := consumertest.NewSource()
		src.Publish("x")
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		var seen atomic.Value
		c := single(t, src, consumer.Config{}, func(ctx context.Context, _ *consumer.Message[[]byte]) error {
			cancel()
			pass(time.Second)
			seen.Store(ctx.Value(key{}))
			return ctx.Err()
		})
		require.NoError(t, c.Run(ctx))
		require.Equal(t, "value", seen.Load())
		require.Equal(t, []string{"1"}, src.Acked())
	})
}

// leased counts extensions, and loses a message at the third.
type leased struct {
	*consumertest.Source
	extended journal[time.Time]
}

func (l *leased) Lease() time.Duration { return 30 * time.Second }

func (l *leased) Extend(context.Context) ([]string, error) {
	l.extended.add(time.Now())
	switch len(l.extended.all()) {
	case 1:
		return nil, errDown
	case 3:
		return []string{"1"}, nil
	default:
		return nil, nil
	}
}

func TestRun_ExtendsLeasesUntilAllIsSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &leased{Source: consumertest.NewSource()}
		src.Publish("x")
		c := single(t, src, consumer.Config{DrainTimeout: time.Hour}, func(context.Context, *consumer.Message[[]byte]) error {
			pass(30 * time.Minute)
			return nil
		})
		stop := start(t, c)
		pass(time.Minute)
		begun := time.Now()
		require.NoError(t, stop())
		require.InDelta(t, 29*time.Minute, time.Since(begun), float64(time.Second))
		times := src.extended.all()
		require.Less(t, times[1].Sub(times[0]), time.Second, "a failure is tried again soon")
		for i := 2; i < len(times); i++ {
			require.LessOrEqual(t, times[i].Sub(times[i-1]), 10*time.Second)
		}
		require.Less(t, time.Since(times[len(times)-1]), 10*time.Second)
		require.EqualValues(t, 1, c.Stats().LeasesLost)
	})
}

func TestRun_EndsAlthoughDeadLettersCanNotBeKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		src.Publish("x", "y")
		cfg := consumer.Config{MaxAttempts: 1, DeadLetter: func(context.Context, []consumer.DeadLetter) error { return errors.New("full") }}
		c := single(t, src, cfg, func(context.Context, *consumer.Message[[]byte]) error { return errMessage })
		stop := start(t, c)
		pass(time.Minute)
		require.ErrorContains(t, stop(), "outcomes of 2 messages could not be stored")
		require.Empty(t, src.Outcomes(), "they stay pending")
	})
}
