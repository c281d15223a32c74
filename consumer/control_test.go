package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

func TestKey_OneAfterAnother(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]int{"single": 1, "batches": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := consumertest.NewSource()
				k := &keyed{active: map[string]bool{}, seen: map[string][]int{}}
				cfg := consumer.Config{Concurrency: 8, Key: func(m *consumer.Raw) string {
					key, _, _ := strings.Cut(string(m.Payload), ":")
					return key
				}}
				var c runner
				if batch == 1 {
					c = single(t, src, cfg, func(_ context.Context, m *message) error { return k.handle(t, m) })
				} else {
					cfg.BatchSize = batch
					c = batches(t, src, cfg, func(_ context.Context, b []*message) error { return k.handle(t, b...) })
				}
				var payloads []string
				for i := range 2000 {
					key := i * i % 13
					if i%3 == 0 {
						key = 0 // a hot one
					}
					payloads = append(payloads, fmt.Sprintf("k%d:%d", key, i))
				}
				stop := start(t, c)
				src.Publish(payloads...)
				settled(t, src)
				require.NoError(t, stop())
				total := 0
				for key, seen := range k.seen {
					require.True(t, slices.IsSorted(seen), "%s: %v", key, seen)
					total += len(seen)
				}
				require.Equal(t, 2000, total)
				require.Greater(t, k.most, 3, "keys don't wait for each other")
			})
		})
	}
}

// keyed checks that no key is at work twice at once.
type keyed struct {
	mu     sync.Mutex
	active map[string]bool
	seen   map[string][]int
	most   int
}

func (k *keyed) handle(t *testing.T, batch ...*message) error {
	t.Helper()
	mine := map[string]bool{}
	k.mu.Lock()
	for _, m := range batch {
		key, number, _ := strings.Cut(string(m.Value), ":")
		if !mine[key] && k.active[key] {
			t.Errorf("%s is at work twice", key)
		}
		mine[key], k.active[key] = true, true
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Error(err)
		}
		k.seen[key] = append(k.seen[key], n)
	}
	k.most = max(k.most, len(k.active))
	k.mu.Unlock()
	pass(10 * time.Millisecond)
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range mine {
		delete(k.active, key)
	}
	return nil
}

func TestKey_FailureFreesItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		var order journal[string]
		c := single(t, src, consumer.Config{Concurrency: 4, Key: func(m *consumer.Raw) string {
			if m.ID == "5" {
				panic("no key")
			}
			return "all"
		}}, func(_ context.Context, m *message) error {
			order.add(m.ID)
			switch {
			case m.ID == "1" && m.Attempt == 1:
				return errMessage
			case m.ID == "2" && m.Attempt == 1:
				panic("at work")
			case m.ID == "3" && m.Attempt == 1:
				runtime.Goexit()
			}
			return nil
		})
		src.Publish("a", "b", "c", "d", "e")
		stop := start(t, c)
		settled(t, src)
		require.NoError(t, stop())
		all := order.all()
		require.Len(t, all, 8)
		require.Equal(t, []string{"1", "2", "3", "4"}, slices.DeleteFunc(all[:5:5], func(id string) bool { return id == "5" }))
	})
}

func TestKey_DrainGivesBackWhatWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := consumertest.NewSource()
		c := single(t, src, consumer.Config{Concurrency: 4, Key: func(*consumer.Raw) string { return "all" }}, func(context.Context, *message) error {
			pass(time.Second)
			return nil
		})
		src.Publish(numbers(10)...)
		stop := start(t, c)
		pass(1500 * time.Millisecond)
		require.NoError(t, stop())
		require.Len(t, src.Acked(), 2)
		require.Len(t, src.Outcomes(), 10)
		require.Zero(t, c.Stats().InFlight)
	})
}

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

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return all
}
