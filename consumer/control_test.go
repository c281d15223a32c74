package consumer_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

type message = consumer.Message[[]byte]

func TestPause_StartsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		log, logged := logs()
		c := single(t, src, consumer.Config{Concurrency: 2, MaxInFlight: 4, Logger: log}, func(context.Context, *message) error {
			pass(time.Minute)
			return nil
		})
		c.Pause()
		src.Publish(numbers(10)...)
		stop := start(t, c)
		pass(time.Hour)
		require.Empty(t, src.Outcomes(), "paused before Run")
		require.Zero(t, c.Stats().InFlight)

		c.Resume()
		pass(30 * time.Second)
		c.Pause()
		c.Pause()
		require.True(t, c.Stats().Paused)
		pass(time.Hour)
		require.Len(t, src.Acked(), 2, "what ran has returned")
		require.Equal(t, 2, c.Stats().InFlight, "what waited still waits")
		require.Zero(t, c.Stats().Active)

		c.Resume()
		settled(t, src)
		require.False(t, c.Stats().Paused)
		require.NoError(t, stop())
		require.Equal(t, 2, strings.Count(logged(), "consumer: paused"))
		require.Equal(t, 2, strings.Count(logged(), "consumer: resumed"))
	})
}

func TestPause_OutlastsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		var down atomic.Bool
		down.Store(true)
		c := single(t, src, consumer.Config{Concurrency: 1}, func(context.Context, *message) error {
			if down.Load() {
				return errDown
			}
			return nil
		})
		src.Publish("a")
		stop := start(t, c)
		pass(time.Hour)
		require.True(t, c.Stats().Outage)
		c.Pause()
		down.Store(false)
		pass(time.Hour)
		require.False(t, c.Stats().Outage)
		src.Publish("b")
		pass(time.Hour)
		require.Equal(t, []string{"1"}, src.Acked(), "the end of an outage is no end of a pause")
		c.Resume()
		settled(t, src)
		require.NoError(t, stop())
	})
}

func TestPause_DrainsAsUsual(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{Concurrency: 1}, func(context.Context, *message) error {
			pass(time.Second)
			return nil
		})
		src.Publish("a", "b")
		stop := start(t, c)
		pass(time.Second / 2)
		c.Pause()
		require.NoError(t, stop())
		require.Equal(t, []string{"1"}, src.Acked())
		require.Equal(t, consumer.Release, src.Outcomes()[0].Kind)
	})
}

func TestSetConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		var running atomic.Int32
		c := single(t, src, consumer.Config{Concurrency: 2}, func(context.Context, *message) error {
			running.Add(1)
			defer running.Add(-1)
			pass(time.Second)
			return nil
		})
		require.NoError(t, c.SetConcurrency(3), "before Run")
		src.Publish(numbers(1000)...)
		stop := start(t, c)
		expect := func(n int) {
			t.Helper()
			require.EqualValues(t, n, running.Load())
			require.Equal(t, n, c.Stats().Active)
			require.Equal(t, n, c.Stats().Concurrency)
		}
		pass(time.Second / 2)
		expect(3)
		for _, n := range []int{8, 1, 5, 5, 2, 20} {
			require.NoError(t, c.SetConcurrency(n))
			pass(2310 * time.Millisecond)
			expect(n)
		}
		// Who was dismissed and has not left stays.
		require.NoError(t, c.SetConcurrency(1))
		require.NoError(t, c.SetConcurrency(20))
		pass(407 * time.Millisecond)
		expect(20)
		// Up and down at once leaves no more, and no fewer, than the last says.
		for _, n := range []int{1, 30, 4, 7, 3} {
			require.NoError(t, c.SetConcurrency(n))
		}
		pass(2310 * time.Millisecond)
		expect(3)
		for _, n := range []int{0, -1, 100_001} {
			require.ErrorContains(t, c.SetConcurrency(n), "Concurrency is "+strconv.Itoa(n)+": want 1 to 100000")
		}
		settled(t, src)
		require.NoError(t, stop())
		require.NoError(t, c.SetConcurrency(9), "after Run it changes nothing")
		require.Zero(t, c.Stats().Active)
	})
}

func TestSetConcurrency_WhileItDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{Concurrency: 2}, func(context.Context, *message) error {
			pass(time.Second)
			return nil
		})
		src.Publish(numbers(100)...)
		stop := start(t, c)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				pass(time.Duration(i) * 100 * time.Millisecond)
				_ = c.SetConcurrency(1 + i%7)
			})
		}
		pass(2500 * time.Millisecond)
		require.NoError(t, stop())
		wg.Wait()
	})
}

// lender is a source whose messages are lent to others when a test says so.
type lender struct {
	*consumertest.Source
	mu   sync.Mutex
	lost []string
}

func (l *lender) Lease() time.Duration { return 3 * time.Second }

func (l *lender) Extend(context.Context) (lost []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, l.lost = l.lost, nil
	return lost, nil
}

func (l *lender) lose(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, ids...)
}

func TestLease_LostCancelsItsHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &lender{Source: consumertest.NewSource()}
		var causes journal[error]
		var handled journal[string]
		c := single(t, src, consumer.Config{Concurrency: 2}, func(ctx context.Context, m *message) error {
			handled.add(m.ID)
			select {
			case <-ctx.Done():
				causes.add(context.Cause(ctx))
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return nil
			}
		})
		src.Publish("a", "b", "c")
		stop := start(t, c)
		pass(500 * time.Millisecond)
		require.Equal(t, 2, c.Stats().Active)
		src.lose("1", "3") // one that runs, one that waits
		pass(2 * time.Second)
		require.Equal(t, []error{consumer.ErrLeaseLost}, causes.all())
		require.EqualValues(t, 2, c.Stats().LeasesLost)
		settled(t, src.Source)
		require.NoError(t, stop())
		require.ElementsMatch(t, []string{"1", "1", "2", "3"}, handled.all(), "what was lost comes again, whoever gets it")
		for _, o := range src.Outcomes() {
			require.Contains(t, []consumer.Kind{consumer.Ack, consumer.Release}, o.Kind, "a lost lease costs no attempt")
		}
		require.Zero(t, c.Stats().Outage)
	})
}

func TestLease_LostInABatchKeepsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &lender{Source: consumertest.NewSource()}
		var calls journal[[]string]
		c := batches(t, src, consumer.Config{Concurrency: 1}, func(ctx context.Context, batch []*message) error {
			var ids []string
			for _, m := range batch {
				ids = append(ids, m.ID)
			}
			calls.add(ids)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if slices.Contains(ids, "2") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		src.Publish("a", "b", "c")
		stop := start(t, c)
		pass(500 * time.Millisecond)
		src.lose("2")
		pass(1500 * time.Millisecond)
		require.Equal(t, []string{"1", "2", "3"}, calls.all()[0])
		require.Equal(t, []string{"1", "3"}, calls.all()[1], "under a context of their own")
		require.Equal(t, []string{"1", "3"}, src.Acked())
		_ = stop()
	})
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return all
}
