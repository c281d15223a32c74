package pool_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func TestBlocking_NeverStarvesStandard(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.ClientName = "starve"
	cfg.Profile = pool.Profile{MaxConnections: 2, BlockingConnections: 40}
	c, k := open(t, cfg), key(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			_, err := c.Blocking().BLPop(ctx, 0, k)
			require.ErrorIs(t, err, errStop)
		})
	}
	awaitBlocked(t, c.Standard(), "starve", 40)
	require.ErrorIs(t, c.Standard().Get(t.Context(), k).Err(), redis.Nil)
	require.Zero(t, c.Stats().Waits)
	cancel(errStop)
	wg.Wait()
	require.Equal(t, 40, c.Stats().Blocking.AvailableConnections, "all were woken and none was given up")
}

func TestBlocking_Commands(t *testing.T) {
	t.Parallel()
	c := open(t, shared(t))
	rdb, blocking := c.Standard(), c.Blocking()
	k := key(t)
	list, other, zset, stream := k+"list", k+"other", k+"zset", k+"stream"
	add := func(values ...any) { require.NoError(t, rdb.RPush(t.Context(), list, values...).Err()) }
	tests := map[string]struct {
		fill func()
		run  func(timeout time.Duration) (any, error)
		want any
	}{
		"BLPop": {
			func() { add("a") },
			func(d time.Duration) (any, error) { return blocking.BLPop(t.Context(), d, other, list) },
			[]string{list, "a"},
		},
		"BRPop": {
			func() { add("a") },
			func(d time.Duration) (any, error) { return blocking.BRPop(t.Context(), d, other, list) },
			[]string{list, "a"},
		},
		"BLMove": {
			func() { add("a") },
			func(d time.Duration) (any, error) {
				return blocking.BLMove(t.Context(), list, k+"moved", "LEFT", "RIGHT", d)
			},
			"a",
		},
		"BZPopMin": {
			func() { require.NoError(t, rdb.ZAdd(t.Context(), zset, redis.Z{Member: "m", Score: 3}).Err()) },
			func(d time.Duration) (any, error) { return blocking.BZPopMin(t.Context(), d, zset) },
			&redis.ZWithKey{Z: redis.Z{Member: "m", Score: 3}, Key: zset},
		},
		"XReadGroup": {
			func() {
				require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: "1-1", Values: []string{"f", "v"}}).Err())
			},
			func(d time.Duration) (any, error) {
				return blocking.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{stream, ">"}, Block: d})
			},
			[]redis.XStream{{Stream: stream, Messages: []redis.XMessage{{ID: "1-1", Values: map[string]any{"f": "v"}}}}},
		},
		"XRead": {
			func() {
				require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: other, ID: "1-1", Values: []string{"f", "v"}}).Err())
			},
			func(d time.Duration) (any, error) {
				return blocking.XRead(t.Context(), &redis.XReadArgs{Streams: []string{other}, ID: "0", Block: d})
			},
			[]redis.XStream{{Stream: other, Messages: []redis.XMessage{{ID: "1-1", Values: map[string]any{"f": "v"}}}}},
		},
	}
	require.NoError(t, rdb.XGroupCreateMkStream(t.Context(), stream, "g", "$").Err())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.run(5 * time.Millisecond)
			require.ErrorIs(t, err, redis.Nil)
			tt.fill()
			got, err := tt.run(time.Minute)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			rdb.Del(t.Context(), other)
		})
	}
	require.Equal(t, []string{"a"}, rdb.LRange(t.Context(), k+"moved", 0, -1).Val())
}

func TestBlocking_BadArguments(t *testing.T) {
	t.Parallel()
	blocking := open(t, shared(t)).Blocking()
	for name, run := range map[string]func() error{
		"BLPop":      func() error { _, err := blocking.BLPop(t.Context(), 0); return err },
		"BZPopMin":   func() error { _, err := blocking.BZPopMin(t.Context(), 0); return err },
		"XRead":      func() error { _, err := blocking.XRead(t.Context(), &redis.XReadArgs{}); return err },
		"XReadGroup": func() error { _, err := blocking.XReadGroup(t.Context(), &redis.XReadGroupArgs{Block: -1}); return err },
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, run(), "want") })
	}
}

// Close waits for calls, and must not for one that never began.
func TestBlocking_CloseAfterACallThatPanicked(t *testing.T) {
	t.Parallel()
	c, err := pool.Open(t.Context(), shared(t)) // without a clean-up, which would hang as well
	require.NoError(t, err)
	var none context.Context
	require.Panics(t, func() { _, _ = c.Blocking().BLPop(none, time.Second, key(t)) })
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "Close hangs")
	}
}

// A user without the right to unblock reads in many short commands: "$" must not move on between them.
func TestBlocking_XReadLatestMissesNothing(t *testing.T) {
	t.Parallel()
	admin, k := open(t, shared(t)), key(t)
	user := "pool:" + t.Name()
	require.NoError(t, admin.Standard().ACLSetUser(t.Context(), user, "on", ">secret", "~*", "+@all", "-client").Err())
	t.Cleanup(func() { admin.Standard().ACLDelUser(context.WithoutCancel(t.Context()), user) })
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c := open(t, pool.Config{Addr: proxy.Addr(), Username: user, Password: "secret"})
	proxy.Latency(20 * time.Millisecond) // widens the gap between two commands
	require.NoError(t, admin.Standard().XAdd(t.Context(), &redis.XAddArgs{Stream: k, ID: "1-1", Values: []string{"f", "old"}}).Err())
	for i := range 20 {
		var wg sync.WaitGroup
		wg.Go(func() {
			awaitBlockedField(t, admin.Standard(), "user="+user, 1)
			<-time.After(time.Duration(i) * 5 * time.Millisecond)
			require.NoError(t, admin.Standard().XAdd(t.Context(), &redis.XAddArgs{Stream: k, Values: []string{"f", "new"}}).Err())
		})
		got, err := c.Blocking().XRead(t.Context(), &redis.XReadArgs{Streams: []string{k, "$"}, Block: 5 * time.Second})
		require.NoError(t, err)
		require.Equal(t, map[string]any{"f": "new"}, got[0].Messages[0].Values)
		wg.Wait()
	}
}

func TestBlocking_TimeoutIsCapped(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Profile = pool.Profile{BlockingTimeout: time.Second}
	c := open(t, cfg)
	for name, timeout := range map[string]time.Duration{"zero": 0, "longer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Blocking().BLPop(t.Context(), timeout, key(t))
			require.ErrorIs(t, err, redis.Nil)
		})
	}
}

func TestBlocking_AllConnectionsWait(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.ClientName = "all-wait"
	cfg.Profile = pool.Profile{BlockingConnections: 1}
	c, k := open(t, cfg), key(t)
	first := cancelWhen(t, func() {
		awaitBlocked(t, c.Standard(), "all-wait", 1)
		_, err := c.Blocking().BLPop(t.Context(), 20*time.Millisecond, k)
		require.ErrorIs(t, err, redis.ErrPoolTimeout)
		require.ErrorContains(t, err, "1 blocking")
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(errStop)
		_, err = c.Blocking().BLPop(ended, 0, k)
		require.ErrorIs(t, err, errStop)
	})
	_, err := c.Blocking().BLPop(first, 0, k)
	require.ErrorIs(t, err, errStop)
}

func TestBlocking_ServerIsSilent(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c, k := open(t, pool.Config{Addr: proxy.Addr(), ClientName: "silent"}), key(t)
	plain := open(t, shared(t))
	ctx := cancelWhen(t, func() {
		awaitBlocked(t, plain.Standard(), "silent", 1)
		proxy.BlackHole()
	})
	_, err := c.Blocking().BLPop(ctx, 0, k)
	require.ErrorIs(t, err, errStop)
	require.Zero(t, c.Stats().Blocking.CreatedConnections, "the dead connection is gone")
	proxy.Pass()
	require.NoError(t, plain.Standard().RPush(t.Context(), k, "v").Err())
	require.Eventually(t, func() bool {
		got, err := c.Blocking().BLPop(t.Context(), time.Second, k)
		return err == nil && got[1] == "v" || plain.Standard().LLen(t.Context(), k).Val() == 0
	}, 20*time.Second, 10*time.Millisecond)
}

func TestBlocking_IdleForTooLong(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Profile = pool.Profile{HealthCheckInterval: time.Second}
	cfg.ClientName = "idle"
	c, k := open(t, cfg), key(t)
	watcher := open(t, shared(t)).Standard()
	pop := func() (line string) {
		_, err := c.Blocking().BLPop(cancelWhen(t, func() {
			awaitBlocked(t, watcher, "idle", 1)
			line = blockedLines(watcher.ClientList(t.Context()).Val(), "name=idle")[0]
		}), 0, k)
		require.ErrorIs(t, err, errStop)
		id, _, _ := strings.Cut(line, " ")
		return id
	}
	first := pop()
	require.Equal(t, first, pop(), "used again")
	// Each look makes the connection young again, so they are further apart than the interval.
	require.Eventually(t, func() bool { return pop() != first }, 20*time.Second, 1100*time.Millisecond)
}
