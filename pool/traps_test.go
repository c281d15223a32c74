package pool_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// Each of these tests shows a trap on a bare go-redis client, and that it isn't there with this package. TRAPS.md is their table.

func bare(t *testing.T, opt *redis.Options) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// occupy runs n BLPOPs, and f when the server has them all.
func occupy(t *testing.T, name string, n int, blpop func(context.Context, string), f func()) {
	t.Helper()
	watcher, k := open(t, shared(t)).Standard(), key(t)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { blpop(t.Context(), k) })
	}
	awaitBlocked(t, watcher, name, n)
	f()
	for range n {
		require.NoError(t, watcher.RPush(t.Context(), k, "end").Err())
	}
	wg.Wait()
}

func TestTrap_BlockedCallsStarveThePool(t *testing.T) {
	t.Parallel()
	const wait = 200 * time.Millisecond
	rdb := bare(t, &redis.Options{Addr: sharedAddr(t), ClientName: "starved", PoolSize: 2, PoolTimeout: wait})
	occupy(t, "starved", 2, func(ctx context.Context, k string) { rdb.BLPop(ctx, 0, k) }, func() {
		start := time.Now()
		require.ErrorIs(t, rdb.Get(t.Context(), "absent").Err(), redis.ErrPoolTimeout)
		require.Greater(t, time.Since(start), 4*wait, "it waits, and is repeated three times")
	})
	cfg := shared(t)
	cfg.ClientName, cfg.Profile.MaxConnections, cfg.Profile.BlockingConnections = "fed", 2, 2
	c := open(t, cfg)
	occupy(t, "fed", 2, func(ctx context.Context, k string) { _, _ = c.Blocking().BLPop(ctx, 0, k) }, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(t, c.Standard().Get(ctx, "absent").Err(), redis.Nil)
		require.Zero(t, c.Stats().Waits)
	})
}

func TestTrap_BlockedCallOutlivesItsContext(t *testing.T) {
	t.Parallel()
	rdb, k := bare(t, &redis.Options{Addr: sharedAddr(t), ClientName: "deaf"}), key(t)
	watcher := open(t, shared(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rdb.BLPop(ctx, 0, k).Err() }()
	awaitBlocked(t, watcher.Standard(), "deaf", 1)
	cancel()
	select {
	case err := <-done:
		require.Fail(t, "bare go-redis obeys the context now", err)
	case <-time.After(300 * time.Millisecond):
	}
	require.NoError(t, watcher.Standard().RPush(t.Context(), k, "v").Err())
	require.NoError(t, <-done, "it takes an element that its caller no longer wants")

	cfg := shared(t)
	cfg.ClientName = "keen"
	c := open(t, cfg)
	_, err := c.Blocking().BLPop(cancelWhen(t, func() { awaitBlocked(t, watcher.Standard(), "keen", 1) }), 0, k)
	require.ErrorIs(t, err, errStop)
}

func TestTrap_LostReplyRunsAgain(t *testing.T) {
	t.Parallel()
	const patience = 500 * time.Millisecond
	plain := open(t, shared(t)).Standard()

	proxy, k := testserver.StartProxy(t, sharedAddr(t)), key(t)
	rdb := bare(t, &redis.Options{Addr: proxy.Addr(), ReadTimeout: patience, Protocol: 2, DisableIdentity: true})
	warmUpBare(t, rdb, 5)
	proxy.DropReplies()
	require.Error(t, rdb.Incr(t.Context(), k).Err())
	require.Equal(t, "4", plain.Get(t.Context(), k).Val())

	other, k := testserver.StartProxy(t, sharedAddr(t)), key(t)
	c := open(t, pool.Config{Addr: other.Addr(), Profile: pool.Profile{SocketTimeout: patience}})
	warmUp(t, c, 5)
	other.DropReplies()
	var lost *pool.LostReplyError
	require.ErrorAs(t, c.Standard().Incr(t.Context(), k).Err(), &lost)
	require.Equal(t, "incr", lost.Command)
	require.Equal(t, "1", plain.Get(t.Context(), k).Val())
}

func warmUpBare(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	var holding, done sync.WaitGroup
	holding.Add(n)
	for range n {
		done.Go(func() {
			require.NoError(t, rdb.Watch(t.Context(), func(tx *redis.Tx) error {
				err := tx.Ping(t.Context()).Err()
				holding.Done()
				holding.Wait()
				return err
			}))
		})
	}
	done.Wait()
}

func TestTrap_NoReadTimeoutHangs(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	rdb := bare(t, &redis.Options{Addr: proxy.Addr(), ReadTimeout: -1, MaxRetries: -1})
	c := open(t, pool.Config{Addr: proxy.Addr(), Profile: pool.Profile{SocketTimeout: 100 * time.Millisecond, RetryBudget: -1}})
	require.NoError(t, rdb.Ping(t.Context()).Err())
	proxy.HalfOpen()
	done := make(chan error, 1)
	go func() { done <- rdb.Ping(t.Context()).Err() }()
	require.Error(t, c.Standard().Ping(t.Context()).Err())
	select {
	case err := <-done:
		require.Fail(t, "bare go-redis returned", err)
	case <-time.After(300 * time.Millisecond):
	}
	proxy.Reset()
	require.Error(t, <-done)
}

func TestTrap_DoBLPopTimesOutTooSoon(t *testing.T) {
	t.Parallel()
	const readTimeout, block = 100 * time.Millisecond, time.Second
	rdb, k := bare(t, &redis.Options{Addr: sharedAddr(t), ReadTimeout: readTimeout, MaxRetries: -1}), key(t)
	err := rdb.Do(t.Context(), "BLPOP", k, block.Seconds()).Err()
	require.ErrorContains(t, err, "i/o timeout", "the server holds the connection as blocked, and may give it an element")

	cfg := shared(t)
	cfg.Profile.SocketTimeout = readTimeout
	start := time.Now()
	_, err = open(t, cfg).Blocking().BLPop(t.Context(), block, k)
	require.ErrorIs(t, err, redis.Nil)
	require.GreaterOrEqual(t, time.Since(start), block)
}

func TestTrap_MaxActiveConnsDoesNotWait(t *testing.T) {
	t.Parallel()
	rdb := bare(t, &redis.Options{Addr: sharedAddr(t), PoolSize: 2, MaxActiveConns: 1})
	require.NoError(t, rdb.Watch(t.Context(), func(*redis.Tx) error {
		require.ErrorIs(t, rdb.Ping(t.Context()).Err(), redis.ErrPoolExhausted)
		return nil
	}, key(t)))

	cfg := shared(t)
	cfg.Profile.MaxConnections = 1
	c := open(t, cfg)
	var wg sync.WaitGroup
	hold(t, c, func() {
		wg.Go(func() { require.NoError(t, c.Standard().Ping(t.Context()).Err()) })
		require.Eventually(t, func() bool { return c.Standard().PoolStats().PendingRequests == 1 }, 5*time.Second, time.Millisecond)
	})
	wg.Wait()
}

func TestTrap_RefusedDials(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{
		Addr: srv.Addr(), Profile: pool.Profile{RetryBudget: 200 * time.Millisecond}, Breaker: pool.Breaker{MinCalls: 3, OpenFor: time.Minute},
	})
	srv.Kill()
	start := time.Now()
	require.Error(t, bare(t, &redis.Options{Addr: srv.Addr()}).Get(t.Context(), "k").Err())
	require.Greater(t, time.Since(start), 1500*time.Millisecond, "five dials in each of four tries")

	start = time.Now()
	require.Error(t, c.Standard().Get(t.Context(), "k").Err())
	require.Less(t, time.Since(start), time.Second, "what the budget says")
	require.ErrorIs(t, c.Standard().Get(t.Context(), "k").Err(), pool.ErrOpen, "and then at once")
}

func TestTrap_DeadIdleTLSConnections(t *testing.T) {
	t.Parallel()
	srv := serveTLS(t, sharedAddr(t))
	rdb := bare(t, &redis.Options{Addr: srv.addr, TLSConfig: srv.client})
	c := open(t, pool.Config{Addr: srv.addr, TLS: srv.client, Profile: pool.Profile{RetryBudget: -1}})
	warmUpBare(t, rdb, 10)
	warmUp(t, c, 10)
	srv.hangUp()
	require.Error(t, rdb.Get(t.Context(), "absent").Err(), "each of its tries takes another dead connection")
	require.ErrorIs(t, c.Standard().Get(t.Context(), "absent").Err(), redis.Nil)
}

func TestTrap_OwnDialerTurnsTLSOff(t *testing.T) {
	t.Parallel()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	rdb := bare(t, &redis.Options{Addr: sharedAddr(t), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}, Dialer: dial})
	require.NoError(t, rdb.Ping(t.Context()).Err(), "the server speaks no TLS, and got the command in the clear")

	_, err := pool.Open(t.Context(), pool.Hurry(pool.Config{Addr: sharedAddr(t), TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, time.Second, 0))
	require.ErrorContains(t, err, "Config.TLS is set")
}

// limiter fails the way that a simple circuit breaker on go-redis's Limiter does.
type limiter struct{ failures int }

func (l *limiter) Allow() error { return nil }

func (l *limiter) ReportResult(err error) {
	if err != nil {
		l.failures++
	}
}

func TestTrap_LimiterCountsMissingKeys(t *testing.T) {
	t.Parallel()
	var l limiter
	rdb := bare(t, &redis.Options{Addr: sharedAddr(t), Limiter: &l, Protocol: 2, DisableIdentity: true})
	require.NoError(t, rdb.Ping(t.Context()).Err())
	before := l.failures
	require.ErrorIs(t, rdb.Get(t.Context(), key(t)).Err(), redis.Nil)
	require.Equal(t, before+1, l.failures)

	cfg := shared(t)
	cfg.Breaker.MinCalls = 1
	c := open(t, cfg)
	for range 10 {
		require.ErrorIs(t, c.Standard().Get(t.Context(), key(t)).Err(), redis.Nil)
	}
	require.Zero(t, c.Stats().Breaker[0].Failures)
}

func TestTrap_HandshakeErrorsOnTheServer(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr(), ClientName: "quiet"})
	_, err := c.Blocking().BLPop(t.Context(), time.Millisecond, "absent")
	require.ErrorIs(t, err, redis.Nil)
	require.NotContains(t, c.Standard().Info(t.Context(), "errorstats").Val(), "errorstat_")
	require.NoError(t, bare(t, &redis.Options{Addr: srv.Addr()}).Ping(t.Context()).Err())
	// Newer servers know some of what bare go-redis says.
	if version := c.Standard().InfoMap(t.Context(), "server").Item("Server", "redis_version"); strings.HasPrefix(version, "7.0.") || strings.HasPrefix(version, "6.") {
		require.Contains(t, c.Standard().Info(t.Context(), "errorstats").Val(), "errorstat_")
	}
}

func TestTrap_ReconnectStorm(t *testing.T) {
	t.Parallel()
	storm := func(connect func(addr string, trust *tls.Config) (ping func() error)) int {
		srv := serveTLS(t, sharedAddr(t))
		slow := newTurnstile(t, srv.addr)
		ping := connect(slow.addr, srv.client)
		slow.close()
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() { _ = ping() })
		}
		slow.awaitWaiting(8)
		// Those that would come on top had the time to.
		require.Eventually(t, func() bool { return slow.settled() }, 5*time.Second, 50*time.Millisecond)
		slow.open()
		wg.Wait()
		return slow.mostWaiting()
	}
	require.Greater(t, storm(func(addr string, trust *tls.Config) func() error {
		rdb := bare(t, &redis.Options{Addr: addr, TLSConfig: trust, PoolSize: 30})
		return func() error { return rdb.Ping(t.Context()).Err() }
	}), 20)
	require.LessOrEqual(t, storm(func(addr string, trust *tls.Config) func() error {
		c := open(t, pool.Config{Addr: addr, TLS: trust, Profile: pool.Profile{MaxConnections: 30}})
		return func() error { return c.Standard().Ping(t.Context()).Err() }
	}), 8)
}

// Sentinels that don't know the master make a bare client say of any key that it doesn't exist.
func TestTrap_UnknownMasterLooksLikeAMissingKey(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, testserver.SentinelConfig{})
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: s.Addrs(), MasterName: "nobody", MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	require.ErrorIs(t, rdb.Get(t.Context(), "k").Err(), redis.Nil)

	master := s.Master()
	c := open(t, pool.Config{Addrs: s.Addrs(), MasterName: s.MasterName, Profile: pool.Profile{RetryBudget: -1}})
	for _, addr := range s.Addrs() {
		sentinel := redis.NewSentinelClient(&redis.Options{Addr: addr})
		require.NoError(t, sentinel.Remove(t.Context(), s.MasterName).Err())
		require.NoError(t, sentinel.Close())
	}
	master.Restart()
	err := c.Standard().Get(t.Context(), "k").Err()
	require.Error(t, err)
	require.NotErrorIs(t, err, redis.Nil)
	require.ErrorContains(t, err, "know no master")
}

func TestTrap_NoDialsAfterFailedOnes(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{
		Addr: srv.Addr(), Profile: pool.Profile{MaxConnections: 2, RetryBudget: -1}, Breaker: pool.Breaker{FailureRatio: -1},
	})
	srv.Kill()
	for range 10 {
		require.Error(t, c.Standard().Ping(t.Context()).Err())
	}
	srv.Start()
	// A bare client would go on failing for up to a second, without looking.
	require.NoError(t, c.Standard().Ping(t.Context()).Err())
}
