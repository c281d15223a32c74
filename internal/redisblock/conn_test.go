package redisblock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redisblock"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

var errStop = errors.New("the caller has had enough")

// abilities are clients of a server that unblocks on request; as a user who may not ask for that; and of one that knows no such request.
func abilities(t *testing.T) map[string]*redis.Client {
	t.Helper()
	user := newUser(t, "-client")
	old := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--rename-command", "CLIENT", ""}})
	return map[string]*redis.Client{
		"unblock": newClient(t, nil),
		"denied":  newClient(t, func(o *redis.Options) { o.Username, o.Password = user, "secret" }),
		"unknown": newClient(t, func(o *redis.Options) { o.Addr = old.Addr() }),
	}
}

func newClient(t *testing.T, change func(*redis.Options)) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(testserver.RedisURL(t))
	require.NoError(t, err)
	if change != nil {
		change(o)
	}
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func newUser(t *testing.T, acl string) string {
	t.Helper()
	admin, name := newClient(t, nil), key(t)
	require.NoError(t, admin.ACLSetUser(t.Context(), name, "on", ">secret", "~*", "+@all", acl).Err())
	t.Cleanup(func() { admin.ACLDelUser(context.WithoutCancel(t.Context()), name) })
	return name
}

func key(t *testing.T) string {
	t.Helper()
	return "redisblock:" + t.Name() + ":" + strconv.FormatUint(rand.Uint64(), 36)
}

func open(t *testing.T, rdb *redis.Client) *redisblock.Conn {
	t.Helper()
	conn, err := redisblock.Open(t.Context(), rdb)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func pop(ctx context.Context, conn *redisblock.Conn, block time.Duration, list string) (element string, err error) {
	err = conn.Do(ctx, block, func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		cmd := redis.NewStringSliceCmd(ctx, "blpop", list, block.Seconds())
		if err := conn.Process(ctx, cmd); err != nil {
			return err
		}
		element = cmd.Val()[1]
		return nil
	})
	return element, err
}

func clientID(t *testing.T, conn *redisblock.Conn) (id int64) {
	t.Helper()
	require.NoError(t, conn.Do(t.Context(), time.Second, func(ctx context.Context, conn *redis.Conn, _ time.Duration) error {
		var err error
		id, err = conn.ClientID(ctx).Result()
		return err
	}))
	return id
}

// awaitBlocked returns when a client waits for list on the server.
func awaitBlocked(t *testing.T, rdb *redis.Client, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		clients, err := rdb.Do(t.Context(), "client", "list").Text()
		return err == nil && hasBlocked(clients, name)
	}, 10*time.Second, time.Millisecond)
}

func TestConn_ElementIsThere(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := key(t)
			require.NoError(t, rdb.RPush(t.Context(), list, "a", "b").Err())
			conn := open(t, rdb)
			for _, want := range []string{"a", "b"} {
				got, err := pop(t.Context(), conn, 0, list)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	}
}

func TestConn_ElementComesWhileBlocked(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, list := open(t, rdb), key(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				require.Eventually(t, func() bool { return blockedClients(t, rdb) > 0 }, 10*time.Second, time.Millisecond)
				rdb.RPush(t.Context(), list, "late")
			})
			got, err := pop(t.Context(), conn, 0, list)
			require.NoError(t, err)
			require.Equal(t, "late", got)
			wg.Wait()
		})
	}
}

func TestConn_BlockIsOver(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := open(t, rdb)
			start := time.Now()
			_, err := pop(t.Context(), conn, 120*time.Millisecond, key(t))
			require.ErrorIs(t, err, redis.Nil)
			require.GreaterOrEqual(t, time.Since(start), 120*time.Millisecond)
		})
	}
}

// A block under a millisecond would reach the server as 0, which is for ever.
func TestConn_TinyBlockEnds(t *testing.T) {
	t.Parallel()
	conn, list := open(t, newClient(t, nil)), key(t)
	err := conn.Do(t.Context(), 900*time.Microsecond, func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		return conn.XRead(ctx, &redis.XReadArgs{Streams: []string{list, "$"}, Block: block}).Err()
	})
	require.ErrorIs(t, err, redis.Nil)
}

func TestConn_ContextEndsWhileBlocked(t *testing.T) {
	t.Parallel()
	conn, rdb := open(t, newClient(t, nil)), newClient(t, nil)
	id := clientID(t, conn)
	for range 50 {
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			awaitBlocked(t, rdb, strconv.FormatInt(id, 10))
			cancel(errStop)
		})
		_, err := pop(ctx, conn, 0, key(t))
		require.ErrorIs(t, err, errStop)
		wg.Wait()
	}
	require.Equal(t, id, clientID(t, conn), "the replies were drained: the connection is still good")
}

// The request to unblock may overtake the command.
func TestConn_UnblockComesTooEarly(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := newClient(t, func(o *redis.Options) { o.Addr = srv.Addr() })
	conn, list := open(t, rdb), key(t)
	before := calls(t, rdb, "client|unblock")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := conn.Do(ctx, 0, func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		cancel(errStop)
		require.Eventually(t, func() bool { return calls(t, rdb, "client|unblock") > before+2 }, 10*time.Second, time.Millisecond)
		return conn.Process(ctx, redis.NewStringSliceCmd(ctx, "blpop", list, block.Seconds()))
	})
	require.ErrorIs(t, err, errStop)
	require.True(t, conn.Live(), "the connection survived")
}

// calls is how often the server was sent the command.
func calls(t *testing.T, rdb *redis.Client, command string) int {
	t.Helper()
	stats, err := rdb.InfoMap(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	_, after, _ := strings.Cut(stats["Commandstats"]["cmdstat_"+command], "calls=")
	n, _, _ := strings.Cut(after, ",")
	count, _ := strconv.Atoi(n)
	return count
}

func TestConn_DeadlineWhileSending(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, list := open(t, rdb), key(t)
			for range 30 {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Microsecond+rand.N(500*time.Microsecond), errStop)
				_, err := pop(ctx, conn, 0, list)
				require.ErrorIs(t, err, errStop)
				require.True(t, conn.Live(), "the connection survived")
				cancel()
			}
		})
	}
}

func TestConn_ContextEndsWhileSending(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, list := open(t, rdb), key(t)
			for range 100 {
				ctx, cancel := context.WithCancelCause(t.Context())
				timer := time.AfterFunc(rand.N(300*time.Microsecond), func() { cancel(errStop) })
				_, err := pop(ctx, conn, 0, list)
				require.ErrorIs(t, err, errStop)
				require.True(t, conn.Live(), "the connection survived")
				timer.Stop()
			}
		})
	}
}

func TestConn_ElementRacesCancellation(t *testing.T) {
	t.Parallel()
	for name, rdb := range abilities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, list := open(t, rdb), key(t)
			pusher := newClient(t, nil)
			const rounds = 300
			var returned, cancelled int
			for i := range rounds {
				ctx, cancel := context.WithCancelCause(t.Context())
				var wg sync.WaitGroup
				delay := rand.N(2 * time.Millisecond)
				wg.Go(func() { time.AfterFunc(delay, func() { cancel(errStop) }) })
				wg.Go(func() {
					<-time.After(delay)
					require.NoError(t, pusher.RPush(context.WithoutCancel(ctx), list, i).Err())
				})
				if _, err := pop(ctx, conn, 0, list); err == nil {
					returned++
				} else {
					require.ErrorIs(t, err, errStop)
					cancelled++
				}
				wg.Wait()
				cancel(nil)
			}
			left, err := pusher.LLen(t.Context(), list).Result()
			require.NoError(t, err)
			require.Equal(t, rounds, returned+int(left), "returned %d, cancelled %d", returned, cancelled)
		})
	}
}

func TestConn_ContextEndedBefore(t *testing.T) {
	t.Parallel()
	conn, rdb, list := open(t, newClient(t, nil)), newClient(t, nil), key(t)
	require.NoError(t, rdb.RPush(t.Context(), list, "stays").Err())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	_, err := pop(ctx, conn, 0, list)
	require.ErrorIs(t, err, errStop)
	require.EqualValues(t, 1, rdb.LLen(t.Context(), list).Val())
}

func TestConn_SomebodyElseUnblocks(t *testing.T) {
	t.Parallel()
	conn, rdb, list := open(t, newClient(t, nil)), newClient(t, nil), key(t)
	id := clientID(t, conn)
	var wg sync.WaitGroup
	wg.Go(func() {
		require.Eventually(t, func() bool { return rdb.ClientUnblock(t.Context(), id).Val() == 1 }, 10*time.Second, time.Millisecond)
		rdb.RPush(t.Context(), list, "element")
	})
	got, err := pop(t.Context(), conn, 0, list)
	require.NoError(t, err)
	require.Equal(t, "element", got)
	wg.Wait()
}

func TestConn_ReadTimeoutIsShorterThanBlock(t *testing.T) {
	t.Parallel()
	conn := open(t, newClient(t, func(o *redis.Options) { o.ReadTimeout = 50 * time.Millisecond }))
	_, err := pop(t.Context(), conn, 400*time.Millisecond, key(t))
	require.ErrorIs(t, err, redis.Nil)
}

// An idle server looks at its clock every 100 ms. Only a request makes it look earlier.
func TestConn_ContextEndsWithoutUnblock(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--rename-command", "CLIENT", ""}})
	rdb := newClient(t, func(o *redis.Options) { o.Addr = srv.Addr() })
	conn, before := open(t, rdb), calls(t, rdb, "ping")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(errStop) })
	_, err := pop(ctx, conn, 0, key(t))
	require.ErrorIs(t, err, errStop)
	require.True(t, conn.Live())
	require.Greater(t, calls(t, rdb, "ping"), before)
}

func TestConn_CallPanics(t *testing.T) {
	t.Parallel()
	conn := open(t, newClient(t, nil))
	id := clientID(t, conn)
	require.Panics(t, func() {
		_ = conn.Do(t.Context(), 0, func(context.Context, *redis.Conn, time.Duration) error { panic("boom") })
	})
	require.NotEqual(t, id, clientID(t, conn), "nobody knows what that connection has still to say")
}

func TestConn_Closed(t *testing.T) {
	t.Parallel()
	conn := open(t, newClient(t, nil))
	require.NoError(t, conn.Close())
	require.NoError(t, conn.Close())
	_, err := pop(t.Context(), conn, 0, key(t))
	require.ErrorIs(t, err, redisblock.ErrClosed)
}
