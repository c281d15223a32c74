package redissub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redissub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// listener runs a subscription and notes all that it is told.
type listener struct {
	*redissub.Subscription
	channel string
	stop    func() error

	mu    sync.Mutex
	heard []string
	gaps  []redissub.Gap
	downs []error
}

// listen subscribes to a channel of its own, with short times, and returns when that is in force.
func listen(t *testing.T, rdb redis.UniversalClient, change func(*redissub.Config)) *listener {
	t.Helper()
	l := start(t, rdb, change)
	l.awaitUp(t, 1)
	return l
}

func start(t *testing.T, rdb redis.UniversalClient, change func(*redissub.Config)) *listener {
	t.Helper()
	l := &listener{channel: name(t)}
	cfg := redissub.Config{
		Channels: []string{l.channel},
		Ping:     50 * time.Millisecond, Timeout: time.Second,
		Message: func(m redissub.Message) { l.note(func() { l.heard = append(l.heard, string(m.Payload)) }) },
		Up:      func(g redissub.Gap) { l.note(func() { l.gaps = append(l.gaps, g) }) },
		Down:    func(err error) { l.note(func() { l.downs = append(l.downs, err) }) },
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	l.Subscription, err = redissub.New(rdb, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { require.NoError(t, l.stop()) })
	return l
}

func (l *listener) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *listener) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.heard...)
}

func (l *listener) awaitUp(t *testing.T, n int) redissub.Gap {
	t.Helper()
	var gap redissub.Gap
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.gaps) >= n {
			gap = l.gaps[n-1]
		}
		return len(l.gaps) >= n
	}, 20*time.Second, time.Millisecond)
	return gap
}

func (l *listener) awaitDown(t *testing.T) error {
	t.Helper()
	var down error
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.downs) > 0 {
			down = l.downs[0]
		}
		return down != nil
	}, 20*time.Second, time.Millisecond)
	return down
}

// awaitMessage publishes until it is heard.
func (l *listener) awaitMessage(t *testing.T, rdb redis.UniversalClient, payload string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_ = rdb.Publish(t.Context(), l.channel, payload).Err()
		return slices.Contains(l.messages(), payload)
	}, 20*time.Second, 5*time.Millisecond)
}

func name(t *testing.T) string {
	t.Helper()
	return "redissub:" + t.Name() + ":" + strconv.FormatUint(rand.Uint64(), 36)
}

func client(t *testing.T, addr string, change func(*redis.Options)) *redis.Client {
	t.Helper()
	o := &redis.Options{Addr: addr}
	if change != nil {
		change(o)
	}
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func shared(t *testing.T, change func(*redis.Options)) *redis.Client {
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

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := redissub.New(redis.NewRing(&redis.RingOptions{}), redissub.Config{Ping: time.Millisecond, Timeout: -1, MaxBytes: 1})
	for _, want := range []string{
		"*redis.Ring can't be subscribed", "Config.Channels and Config.Patterns are both empty", "Config.Message is nil",
		"Config.Ping is 1ms: want 10ms to 1h0m0s, or 0 for 3s", "Config.Timeout is -1ns", "Config.MaxBytes is 1: want 64",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestSubscription_EveryMessageInOrder(t *testing.T) {
	t.Parallel()
	const count = 100_000
	for protocol := 2; protocol <= 3; protocol++ {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			t.Parallel()
			rdb := shared(t, func(o *redis.Options) { o.Protocol = protocol })
			next, wrong := 0, 0
			done := make(chan struct{})
			l := listen(t, rdb, func(c *redissub.Config) {
				c.Message = func(m redissub.Message) {
					if n, err := strconv.Atoi(string(m.Payload)); err != nil || n != next {
						wrong++
					}
					if next++; next == count {
						close(done)
					}
				}
			})
			for n := 0; n < count; {
				pipe := rdb.Pipeline()
				for range 1000 {
					pipe.Publish(t.Context(), l.channel, n)
					n++
				}
				_, err := pipe.Exec(t.Context())
				require.NoError(t, err)
			}
			<-done
			require.NoError(t, l.stop())
			require.Zero(t, wrong)
			stats := l.Stats()
			require.Equal(t, uint64(count), stats.Messages)
			require.Equal(t, uint64(1), stats.Subscriptions)
		})
	}
}

func TestSubscription_ChannelsAndPatterns(t *testing.T) {
	t.Parallel()
	rdb := shared(t, nil)
	prefix := name(t)
	got := make(chan string, 10)
	start(t, rdb, func(c *redissub.Config) {
		c.Channels, c.Patterns = []string{prefix + ":a", prefix + ":b"}, []string{prefix + ":p:*"}
		c.MaxBytes = 256
		c.Message = func(m redissub.Message) {
			got <- strings.ReplaceAll(fmt.Sprintf("%s|%s|%.10s|%d", m.Pattern, m.Channel, m.Payload, m.Omitted), prefix, "")
		}
		c.Up = func(redissub.Gap) { got <- "up" }
	})
	require.Equal(t, "up", <-got)
	for _, m := range [][2]string{{":a", "1"}, {":b", "2"}, {":p:x", "3"}, {":none", "4"}, {":b", ""}, {":p:y", strings.Repeat("l", 257)}, {":a", "5"}} {
		require.NoError(t, rdb.Publish(t.Context(), prefix+m[0], m[1]).Err())
	}
	for _, want := range []string{"|:a|1|0", "|:b|2|0", ":p:*|:p:x|3|0", "|:b||0", ":p:*|:p:y||257", "|:a|5|0"} {
		require.Equal(t, want, <-got)
	}
}

func TestSubscription_CutOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cut, heal func(*testserver.Redis, *testserver.Proxy)
		why       string // part of the reason
	}{
		"server killed": {
			cut:  func(s *testserver.Redis, _ *testserver.Proxy) { s.Kill() },
			heal: func(s *testserver.Redis, _ *testserver.Proxy) { s.Start() },
		},
		"server stopped": {
			cut:  func(s *testserver.Redis, _ *testserver.Proxy) { s.Pause() },
			heal: func(s *testserver.Redis, _ *testserver.Proxy) { s.Resume() },
			why:  "no answer within 1s",
		},
		"black hole": {
			cut:  func(_ *testserver.Redis, p *testserver.Proxy) { p.BlackHole() },
			heal: func(_ *testserver.Redis, p *testserver.Proxy) { p.Pass() },
			why:  "no answer within 1s",
		},
		"half open": {
			cut:  func(_ *testserver.Redis, p *testserver.Proxy) { p.HalfOpen() },
			heal: func(_ *testserver.Redis, p *testserver.Proxy) { p.Pass() },
			why:  "no answer within 1s",
		},
		"reset": {
			cut:  func(_ *testserver.Redis, p *testserver.Proxy) { p.Reset() },
			heal: func(*testserver.Redis, *testserver.Proxy) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, testserver.RedisConfig{})
			proxy := testserver.StartProxy(t, server.Addr())
			direct := client(t, server.Addr(), nil)
			l := listen(t, client(t, proxy.Addr(), nil), nil)
			l.awaitMessage(t, direct, "before")

			before := time.Now()
			tc.cut(server, proxy)
			cut := time.Now()
			require.ErrorContains(t, l.awaitDown(t), tc.why)
			require.Less(t, time.Since(cut), 10*time.Second, "Ping and Timeout are little more than 1s")
			tc.heal(server, proxy)

			gap := l.awaitUp(t, 2)
			require.Error(t, gap.Why)
			require.False(t, gap.Since.After(cut), "the gap begins before the cut is over")
			require.True(t, gap.Until.After(before))
			l.awaitMessage(t, direct, "after")
		})
	}
}

func TestSubscription_GapBeginsAtTheLastAnswer(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	l := listen(t, client(t, server.Addr(), nil), nil)
	admin := client(t, server.Addr(), nil)
	first := l.awaitUp(t, 1)
	require.True(t, first.Since.IsZero())
	require.NoError(t, first.Why)
	for cut := 2; cut < 5; cut++ {
		l.awaitMessage(t, admin, "heard "+strconv.Itoa(cut))
		require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
		killed := time.Now()
		gap := l.awaitUp(t, cut)
		require.False(t, gap.Since.Before(first.Until), "each gap begins where the one before ended, or later")
		require.False(t, gap.Since.After(killed), "nothing was proved after the kill")
		require.True(t, gap.Until.After(gap.Since))
		first = gap
	}
	require.Equal(t, uint64(4), l.Stats().Subscriptions)
}

func TestSubscription_GapCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	const latency = 150 * time.Millisecond
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, server.Addr())
	proxy.Latency(latency)
	l := listen(t, client(t, proxy.Addr(), nil), func(c *redissub.Config) { c.Ping = 10 * time.Millisecond })
	up := time.Now()
	require.Eventually(t, func() bool { return time.Since(up) > 5*latency }, 10*time.Second, time.Millisecond)
	proxy.Reset()
	cut := time.Now()
	gap := l.awaitUp(t, 2)
	require.True(t, gap.Since.After(up), "answers came")
	require.False(t, gap.Since.After(cut.Add(-2*latency)), "what was published after the question is not proved by its answer")
}

func TestSubscription_QuietServerIsAsked(t *testing.T) {
	t.Parallel()
	for protocol := 2; protocol <= 3; protocol++ {
		server := testserver.StartRedis(t, testserver.RedisConfig{})
		admin := client(t, server.Addr(), nil)
		l := listen(t, client(t, server.Addr(), func(o *redis.Options) { o.Protocol = protocol }), nil)
		require.Eventually(t, func() bool {
			stat, err := admin.InfoMap(t.Context(), "commandstats").Result()
			calls := stat["Commandstats"]["cmdstat_ping"]
			var n int
			_, scanned := fmt.Sscanf(calls, "calls=%d,", &n)
			return err == nil && scanned == nil && n > 10
		}, 20*time.Second, 10*time.Millisecond)
		require.Equal(t, uint64(1), l.Stats().Subscriptions, "answers are understood")
	}
}

func TestSubscription_SlowReceiverLosesNothing(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := client(t, server.Addr(), nil)
	release := make(chan struct{})
	var once sync.Once
	seen := 0
	all := make(chan struct{})
	l := listen(t, rdb, func(c *redissub.Config) {
		c.Ping, c.Timeout = 10*time.Millisecond, 100*time.Millisecond
		c.Message = func(redissub.Message) {
			once.Do(func() { <-release })
			if seen++; seen == 5000 {
				close(all)
			}
		}
	})
	for range 5000 {
		require.NoError(t, rdb.Publish(t.Context(), l.channel, strings.Repeat("x", 500)).Err())
	}
	held := time.Now()
	require.Eventually(t, func() bool { return time.Since(held) > 300*time.Millisecond }, 5*time.Second, 10*time.Millisecond)
	close(release)
	<-all
	require.Equal(t, uint64(1), l.Stats().Subscriptions, "a slow receiver is not a dead connection")
}

func TestSubscription_ReceiverTooSlowForTheServer(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--client-output-buffer-limit", "pubsub 1mb 1mb 1"}})
	rdb := client(t, server.Addr(), nil)
	release := make(chan struct{})
	l := listen(t, rdb, func(c *redissub.Config) {
		c.Message = func(redissub.Message) { <-release }
	})
	var began time.Time
	payload := strings.Repeat("x", 64<<10)
	require.Eventually(t, func() bool { // until the server has cut it off
		if began.IsZero() {
			began = time.Now()
		}
		n, err := rdb.Publish(t.Context(), l.channel, payload).Result()
		return err == nil && n == 0
	}, 20*time.Second, 100*time.Microsecond)
	close(release)
	gap := l.awaitUp(t, 2)
	require.False(t, gap.Since.After(began.Add(100*time.Millisecond)), "what was published while the receiver slept counts as lost")
}
