package consumer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

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
