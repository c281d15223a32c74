package pool_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

var errLink = errors.New("the connection failed")

func TestBreaker_OpensByRatio(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		good, bad, silent int
		open              bool
	}{
		"too few calls":      {0, 9, 0, false},
		"enough":             {0, 10, 0, true},
		"half of them":       {5, 5, 0, true},
		"less than half":     {6, 5, 0, false},
		"cancelled is no no": {0, 9, 100, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := pool.NewTestBreaker(pool.Breaker{MinCalls: 10}, nil)
				for range tt.silent {
					require.NoError(t, b.Call(pool.ErrNoVerdict))
				}
				require.NoError(t, b.Call(errLink)) // a window begins with a failure
				for range tt.good {
					require.NoError(t, b.Call(nil))
				}
				for range tt.bad - 1 {
					require.NoError(t, b.Call(errLink))
				}
				if !tt.open {
					require.NoError(t, b.Call(nil))
					return
				}
				err := b.Call(nil)
				require.ErrorIs(t, err, pool.ErrOpen)
				e, ok := errors.AsType[*pool.OpenError](err)
				require.True(t, ok)
				require.Equal(t, "node", e.Node)
				require.Equal(t, 250*time.Millisecond, time.Until(e.RetryAt))
				require.ErrorContains(t, err, "node")
				require.ErrorContains(t, err, errLink.Error())
			})
		})
	}
}

func TestBreaker_OldFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewTestBreaker(pool.Breaker{MinCalls: 10, Window: 10 * time.Second}, nil)
		for range 100 { // one a second, and a good one with it: 50 %, but of fewer than 10 calls in any 4 s
			require.NoError(t, b.Call(errLink))
			<-time.After(3 * time.Second)
		}
		<-time.After(time.Minute)
		for range 9 {
			require.NoError(t, b.Call(errLink))
		}
		require.Equal(t, "closed", b.Stats().State)
		// Good calls of long ago don't outweigh an outage.
		<-time.After(time.Minute)
		for range 20_000 {
			require.NoError(t, b.Call(nil))
		}
		<-time.After(time.Minute)
		for range 10 {
			require.NoError(t, b.Call(errLink))
		}
		require.Equal(t, "open", b.Stats().State)
	})
}

func TestBreaker_Probes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tripped atomic.Int32
		b := pool.NewTestBreaker(pool.Breaker{MinCalls: 1, OpenFor: time.Second}, func() { tripped.Add(1) })
		require.NoError(t, b.Call(errLink))
		require.EqualValues(t, 1, tripped.Load())
		opened := time.Now()

		<-time.After(time.Second)
		end, err := b.Begin()
		require.NoError(t, err, "a probe")
		require.Equal(t, "half-open", b.Stats().State)
		require.ErrorIs(t, b.Call(nil), pool.ErrOpen, "one at a time")
		end(errLink)
		require.Equal(t, "open", b.Stats().State)
		require.EqualValues(t, 2, tripped.Load())
		require.ErrorIs(t, b.Call(nil), pool.ErrOpen)

		<-time.After(time.Second)
		require.NoError(t, b.Call(pool.ErrNoVerdict), "a probe whose caller left")
		_, err = b.Begin()
		require.NoError(t, err, "gives way to another at once, and this one hangs")
		<-time.After(time.Second)
		stats := b.Stats()
		require.Equal(t, opened, stats.OpenedAt)
		require.EqualValues(t, 1, stats.Opened)
		require.EqualValues(t, 2, stats.Refused)
		require.EqualValues(t, 2, stats.Failures)
		require.Equal(t, errLink.Error(), stats.Reason)
		require.NoError(t, b.Call(nil), "so does one that hangs")
		require.Equal(t, pool.BreakerStats{Node: "node", State: "closed", Failures: 2, Opened: 1, Refused: 2}, b.Stats())
		require.NoError(t, b.Call(nil))
	})
}

func TestBreaker_LateResultsOfOldCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := pool.NewTestBreaker(pool.Breaker{MinCalls: 1}, nil)
		end, err := b.Begin()
		require.NoError(t, err)
		require.NoError(t, b.Call(errLink))
		end(nil)
		require.Equal(t, "open", b.Stats().State, "a reply from before the outage says nothing")
	})
}

func TestClients_BreakerOpensAndRecovers(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	var log record
	c, err := pool.Open(t.Context(), pool.Config{
		Addr: srv.Addr(), Logger: log.logger(), Profile: pool.Profile{RetryBudget: -1}, Breaker: pool.Breaker{MinCalls: 5, OpenFor: 50 * time.Millisecond},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	rdb := c.Standard()
	for range 50 {
		require.ErrorIs(t, rdb.Get(t.Context(), "absent").Err(), redis.Nil)
		require.Error(t, rdb.Do(t.Context(), "no-such-command").Err())
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, rdb.Ping(cancelled).Err(), context.Canceled)
		late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
		require.ErrorIs(t, rdb.Ping(late).Err(), context.DeadlineExceeded)
		cancel()
	}
	require.Equal(t, []pool.BreakerStats{{Node: srv.Addr(), State: "closed"}}, c.Stats().Breaker)

	srv.Kill()
	var open *pool.OpenError
	require.Eventually(t, func() bool { return errors.As(rdb.Ping(t.Context()).Err(), &open) }, 10*time.Second, time.Millisecond)
	require.Equal(t, srv.Addr(), open.Node)
	require.Contains(t, open.Reason, "refused")
	_, err = rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Ping(t.Context()); return nil })
	require.Error(t, err)
	srv.Start()
	require.Eventually(t, func() bool { return rdb.Ping(t.Context()).Err() == nil }, 10*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "circuit breaker opened")
	require.Contains(t, log.String(), "circuit breaker closed")
	require.Equal(t, "closed", c.Stats().Breaker[0].State)
}

func TestClients_BreakerRefusesPipelines(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr(), Breaker: pool.Breaker{MinCalls: 1, OpenFor: time.Minute}})
	srv.Kill()
	require.Error(t, c.Standard().Ping(t.Context()).Err())
	for name, run := range map[string]func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error){
		"pipeline": c.Standard().Pipelined, "transaction": c.Standard().TxPipelined,
	} {
		t.Run(name, func(t *testing.T) {
			cmds, err := run(t.Context(), func(p redis.Pipeliner) error {
				p.Incr(t.Context(), "a")
				p.Get(t.Context(), "b")
				return nil
			})
			require.ErrorIs(t, err, pool.ErrOpen)
			for _, cmd := range cmds {
				require.ErrorIs(t, cmd.Err(), pool.ErrOpen, "no zero value passes for a result")
			}
		})
	}
}

// A server that accepts connections and says nothing is met by callers with deadlines of their own, at every stage.
func TestClients_BreakerCountsSilence(t *testing.T) {
	t.Parallel()
	overTLS := serveTLS(t, sharedAddr(t))
	for name, tt := range map[string]struct {
		target string
		cfg    pool.Config
	}{
		"plain": {sharedAddr(t), pool.Config{}},
		"TLS":   {overTLS.addr, pool.Config{TLS: overTLS.client}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := testserver.StartProxy(t, tt.target)
			cfg := tt.cfg
			cfg.Addr, cfg.Breaker = proxy.Addr(), pool.Breaker{MinCalls: 5, OpenFor: time.Minute}
			c := open(t, cfg)
			proxy.BlackHole()
			for range 5 { // beside the good one of Open
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				require.Error(t, c.Standard().Ping(ctx).Err())
				cancel()
			}
			require.ErrorIs(t, c.Standard().Ping(t.Context()).Err(), pool.ErrOpen)
		})
	}
}

func TestClients_ExhaustionOpensNoBreaker(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Profile.MaxConnections = 1
	cfg.Breaker = pool.Breaker{MinCalls: 1}
	c := open(t, pool.Hurry(cfg, time.Second, 0))
	hold(t, c, func() {
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			require.ErrorIs(t, c.Standard().Ping(ctx).Err(), context.DeadlineExceeded)
			cancel()
		}
		start := time.Now()
		require.ErrorIs(t, c.Standard().Get(t.Context(), "k").Err(), redis.ErrPoolTimeout)
		require.Less(t, time.Since(start), 1900*time.Millisecond, "one wait, and no repetition")
	})
	require.Equal(t, "closed", c.Stats().Breaker[0].State)
	require.Zero(t, c.Stats().Breaker[0].Failures)
}

// hold runs f while one connection of Standard is taken.
func hold(t *testing.T, c *pool.Clients, f func()) {
	t.Helper()
	require.NoError(t, c.Standard().Watch(t.Context(), func(*redis.Tx) error { f(); return nil }, "held"))
}

func TestConfig_BreakerOff(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr(), Breaker: pool.Breaker{FailureRatio: -1, MinCalls: 1}, Profile: pool.Profile{RetryBudget: -1}})
	srv.Kill()
	for range 50 {
		err := c.Standard().Ping(t.Context()).Err()
		require.Error(t, err)
		require.NotErrorIs(t, err, pool.ErrOpen)
	}
	require.Empty(t, c.Stats().Breaker)
}

func TestCluster_OneSickMaster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	c := open(t, pool.Config{
		Addrs: cluster.Addrs(), Cluster: true,
		Profile: pool.Profile{SocketTimeout: 100 * time.Millisecond, RetryBudget: -1, MaxConnections: 6},
		Breaker: pool.Breaker{MinCalls: 2, OpenFor: time.Minute},
	})
	rdb := c.Standard().(*redis.ClusterClient)
	sick, well := keyOn(t, rdb, cluster.Nodes[0].Addr()), keyOn(t, rdb, cluster.Nodes[1].Addr())
	cluster.Nodes[0].Pause()
	require.Eventually(t, func() bool { return errors.Is(rdb.Incr(t.Context(), sick).Err(), pool.ErrOpen) }, 10*time.Second, time.Millisecond)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			require.ErrorIs(t, rdb.Incr(t.Context(), sick).Err(), pool.ErrOpen)
			require.NoError(t, rdb.Incr(t.Context(), well).Err())
		})
	}
	wg.Wait()
	cmds, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Incr(t.Context(), sick)
		p.Incr(t.Context(), well)
		return nil
	})
	require.ErrorIs(t, err, pool.ErrOpen)
	require.ErrorIs(t, cmds[0].Err(), pool.ErrOpen)
	require.NoError(t, cmds[1].Err())
	states, until := make(map[string]string), make(map[string]string)
	for _, s := range c.Stats().Breaker {
		states[s.Node], until[s.Node] = s.State, s.RetryAt.Format(time.RFC3339Nano)
	}
	require.Equal(t, "open", states[cluster.Nodes[0].Addr()])
	require.Equal(t, "closed", states[cluster.Nodes[1].Addr()])
	cluster.Nodes[0].Resume()

	// It is well again, but the breakers refuse commands for a minute.
	refused := cluster.Nodes[0].Addr() + ": the circuit breaker is open until " + until[cluster.Nodes[0].Addr()] + ": "
	require.Eventually(t, func() bool {
		h := c.Health(t.Context())
		return h.Status == pool.StatusDegraded && len(h.Reasons) == 1 && strings.Contains(h.Reasons[0], refused)
	}, 10*time.Second, 10*time.Millisecond)
	code, _ := ask(t, c.HealthHandler())
	require.Equal(t, 200, code)
	for _, node := range cluster.Nodes[1:] {
		k := keyOn(t, rdb, node.Addr())
		node.Pause()
		require.Eventually(t, func() bool { return errors.Is(rdb.Incr(t.Context(), k).Err(), pool.ErrOpen) }, 10*time.Second, time.Millisecond)
		node.Resume()
	}
	require.Eventually(t, func() bool {
		h := c.Health(t.Context())
		return h.Status == pool.StatusDown && len(h.Reasons) == 3 && strings.Contains(h.Reasons[2], "circuit breaker")
	}, 10*time.Second, 10*time.Millisecond, "all masters answer, and no command gets through")
	code, _ = ask(t, c.HealthHandler())
	require.Equal(t, 503, code)
}

// A service out of its balancer has no calls that could close a breaker: it must not stay down for that.
func TestHealth_OpenBreaker(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{
		Addr: srv.Addr(), Profile: pool.Profile{RetryBudget: -1}, Breaker: pool.Breaker{MinCalls: 1, OpenFor: 3 * time.Second},
	})
	srv.Kill()
	require.Error(t, c.Standard().Ping(t.Context()).Err())
	srv.Start()
	h := c.Health(t.Context())
	require.True(t, h.Nodes[0].Up, "%v", h)
	require.Equal(t, pool.StatusDown, h.Status)
	require.Contains(t, h.Reasons[0], srv.Addr()+": the circuit breaker is open until ")
	require.Contains(t, h.Reasons[0], "refused")
	code, _ := ask(t, c.HealthHandler())
	require.Equal(t, 503, code)
	awaitStatus(t, c, pool.StatusOK)
	require.Equal(t, "open", c.Stats().Breaker[0].State, "nobody has called")
}

func TestCluster_ExhaustionIsOneWait(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	cfg := pool.Config{Addrs: cluster.Addrs(), Cluster: true, Profile: pool.Profile{MaxConnections: 3}}
	rdb, k := open(t, pool.Hurry(cfg, time.Second, 0)).Standard(), key(t)
	require.ErrorIs(t, rdb.Get(t.Context(), k).Err(), redis.Nil) // which learns what commands there are
	require.NoError(t, rdb.Watch(t.Context(), func(*redis.Tx) error {
		var wg sync.WaitGroup
		for name, run := range map[string]func() error{
			"command": func() error { return rdb.Get(t.Context(), k).Err() },
			"pipeline": func() error {
				_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Get(t.Context(), k); return nil })
				return err
			},
		} {
			wg.Go(func() {
				start := time.Now()
				require.ErrorIs(t, run(), redis.ErrPoolTimeout, name)
				require.Less(t, time.Since(start), 1900*time.Millisecond, name)
			})
		}
		wg.Wait()
		return nil
	}, k))
}

func TestOpenError_KeepsItsReasonToItself(t *testing.T) {
	t.Parallel()
	err := error(&pool.OpenError{Node: "n", Reason: io.EOF.Error()})
	require.NotErrorIs(t, err, io.EOF, "go-redis would repeat the command in a Cluster")
}
