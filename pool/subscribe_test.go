package pool_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// quickly has a dead subscription noticed soon.
var quickly = pool.Profile{SocketTimeout: 300 * time.Millisecond, HealthCheckInterval: time.Second}

// hearing notes what a subscription gives, until it ends.
type hearing struct {
	sub *pool.Subscription

	mu    sync.Mutex
	heard []string // payloads, and "gap"
	gaps  []pool.Gap
}

func listen(t *testing.T, c *pool.Clients, channel string) *hearing {
	t.Helper()
	sub, err := c.Subscribe(t.Context(), channel)
	require.NoError(t, err)
	h := &hearing{sub: sub}
	var wg sync.WaitGroup
	wg.Go(func() {
		for msg, gap := range sub.All() {
			h.note(msg, gap)
		}
	})
	t.Cleanup(func() {
		require.NoError(t, sub.Close())
		wg.Wait()
	})
	return h
}

func (h *hearing) note(msg *redis.Message, gap *pool.Gap) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if gap != nil {
		h.heard, h.gaps = append(h.heard, "gap"), append(h.gaps, *gap)
		return
	}
	h.heard = append(h.heard, msg.Payload)
}

func (h *hearing) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.heard...)
}

func (h *hearing) awaitGap(t *testing.T) pool.Gap {
	t.Helper()
	var gap pool.Gap
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.gaps) > 0 {
			gap = h.gaps[0]
		}
		return len(h.gaps) > 0
	}, 20*time.Second, time.Millisecond)
	return gap
}

// awaitMessage publishes until it is heard.
func (h *hearing) awaitMessage(t *testing.T, rdb redis.UniversalClient, channel, payload string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_ = rdb.Publish(t.Context(), channel, payload).Err()
		heard := h.all()
		return len(heard) > 0 && heard[len(heard)-1] == payload
	}, 20*time.Second, 5*time.Millisecond)
}

func TestSubscribe_Channel(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	sub, err := c.Subscribe(t.Context(), k, k+"2")
	require.NoError(t, err)
	require.NoError(t, c.Standard().Publish(t.Context(), k, "one").Err(), "heard without any wait")
	require.NoError(t, c.Standard().Publish(t.Context(), k+"2", "two").Err())
	require.Equal(t, &redis.Message{Channel: k, Payload: "one"}, receive(t, sub))
	require.Equal(t, &redis.Message{Channel: k + "2", Payload: "two"}, receive(t, sub))
	require.Equal(t, pool.SubscriptionStats{Node: sharedAddr(t), Messages: 2}, sub.Stats())
	require.NoError(t, sub.Close())
	_, more := <-sub.Channel()
	require.False(t, more)
	require.NoError(t, sub.Close(), "again")
}

func receive(t *testing.T, sub *pool.Subscription) *redis.Message {
	t.Helper()
	select {
	case msg := <-sub.Channel():
		return msg
	case <-time.After(20 * time.Second):
		require.Fail(t, "no message")
		return nil
	}
}

func TestSubscribe_Patterns(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	sub, err := c.PSubscribe(t.Context(), k+":*")
	require.NoError(t, err)
	require.NoError(t, c.Standard().Publish(t.Context(), k+":a", "one").Err())
	for msg, gap := range sub.All() {
		require.Nil(t, gap)
		require.Equal(t, &redis.Message{Channel: k + ":a", Pattern: k + ":*", Payload: "one"}, msg)
		require.NoError(t, sub.Close(), "by the reader")
	}
}

func TestSubscribe_Refused(t *testing.T) {
	t.Parallel()
	admin := open(t, shared(t))
	user := "pool:" + t.Name()
	require.NoError(t, admin.Standard().ACLSetUser(t.Context(), user, "on", ">secret", "+@all", "~*", "resetchannels", "&mine").Err())
	t.Cleanup(func() { admin.Standard().ACLDelUser(context.WithoutCancel(t.Context()), user) })
	c := open(t, pool.Config{Addr: sharedAddr(t), Username: user, Password: "secret"})
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	closed := open(t, shared(t))
	require.NoError(t, closed.Close())

	for name, tt := range map[string]struct {
		subscribe func() (*pool.Subscription, error)
		want      string
	}{
		"nothing":       {func() (*pool.Subscription, error) { return c.Subscribe(t.Context()) }, "subscribe to nothing"},
		"no right":      {func() (*pool.Subscription, error) { return c.Subscribe(t.Context(), "yours") }, `subscribe to ["yours"]: `},
		"ctx has ended": {func() (*pool.Subscription, error) { return c.Subscribe(ended, "mine") }, errStop.Error()},
		"closed":        {func() (*pool.Subscription, error) { return closed.Subscribe(t.Context(), "mine") }, redis.ErrClosed.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			_, err := tt.subscribe()
			require.ErrorContains(t, err, tt.want)
			require.Less(t, time.Since(begin), 5*time.Second)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestSubscribe_RestartIsAGap(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	logged := &record{}
	c, err := pool.Open(t.Context(), pool.Config{Addr: srv.Addr(), Profile: quickly, Logger: logged.logger()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	h := listen(t, c, "ch")
	h.awaitMessage(t, c.Standard(), "ch", "before")
	begin := time.Now()
	srv.Kill()
	require.Eventually(t, func() bool { return strings.Contains(h.sub.Stats().LastError, "refused") }, 20*time.Second, time.Millisecond)
	srv.Start()
	gap := h.awaitGap(t)
	require.Less(t, gap.Since.Sub(begin), time.Duration(0))
	require.Greater(t, gap.Until.Sub(begin), time.Duration(0))
	require.Error(t, gap.Why)
	require.NoError(t, c.Standard().Publish(t.Context(), "ch", "after").Err(), "heard without any wait")
	h.awaitMessage(t, c.Standard(), "ch", "last")
	heard := h.all()
	for len(heard) > 1 && heard[1] == "before" {
		heard = heard[1:]
	}
	require.Equal(t, []string{"before", "gap", "after", "last"}, heard[:4])
	require.Equal(t, uint64(1), h.sub.Stats().Gaps)
	require.Equal(t, 1, strings.Count(logged.String(), "subscription lost"), "once per episode")
	require.Equal(t, 1, strings.Count(logged.String(), "subscribed again"))
}

// Nothing tells a client of such a connection but its own questions.
func TestSubscribe_HalfOpenIsAGap(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c, k := open(t, pool.Config{Addr: proxy.Addr(), Profile: quickly}), key(t)
	plain := open(t, shared(t)).Standard()
	h := listen(t, c, k)
	h.awaitMessage(t, plain, k, "before")
	proxy.HalfOpen()
	require.Eventually(t, func() bool { return h.sub.Stats().Node == "" }, 20*time.Second, 10*time.Millisecond)
	proxy.Pass()
	h.awaitGap(t)
	h.awaitMessage(t, plain, k, "after")
}

// A reader who stops for a while gets either every message or a gap.
func TestSubscribe_SlowReader(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--client-output-buffer-limit", "pubsub", "1mb", "0", "0"}})
	plain := open(t, pool.Config{Addr: srv.Addr()}).Standard() // quickly would be too quick for a busy machine
	c := open(t, pool.Config{Addr: srv.Addr(), Profile: quickly})
	sub, err := c.Subscribe(t.Context(), "ch")
	require.NoError(t, err)
	payload := strings.Repeat("x", 10_000)
	published := 0
	publish := func() {
		require.NoError(t, plain.Publish(t.Context(), "ch", fmt.Sprint(published, " ", payload)).Err())
		published++
	}
	for range 200 {
		publish()
	}
	require.Equal(t, 100, awaitQueued(t, sub, 100).Queued)
	defer time.AfterFunc(20*time.Second, func() { _ = sub.Close() }).Stop() // nothing comes any more
	next, gaps := 0, 0
	for msg, gap := range sub.All() {
		if gap != nil {
			gaps++
			next = -1 // unknown
			if published < 3000 {
				continue
			}
			publish()
			continue
		}
		number, _, _ := strings.Cut(msg.Payload, " ")
		if next >= 0 {
			require.Equal(t, fmt.Sprint(next), number, "none is missing without a gap")
			next++
		}
		if gaps > 0 {
			break
		}
		if next == 200 { // it has caught up, and stops for longer than the server puts up with
			for published < 3000 {
				publish()
			}
		}
	}
	require.Equal(t, 1, gaps)
	require.Equal(t, uint64(1), sub.Stats().Gaps)
	require.NoError(t, sub.Close())
}

func awaitQueued(t *testing.T, sub *pool.Subscription, n int) pool.SubscriptionStats {
	t.Helper()
	require.Eventually(t, func() bool { return sub.Stats().Queued >= n }, 20*time.Second, time.Millisecond)
	return sub.Stats()
}

func TestSubscribe_LeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, c *pool.Clients, sub *pool.Subscription, cancel func()){
		"ctx": func(_ *testing.T, _ *pool.Clients, _ *pool.Subscription, cancel func()) { cancel() },
		"Close": func(t *testing.T, _ *pool.Clients, sub *pool.Subscription, _ func()) {
			t.Helper()
			require.NoError(t, sub.Close())
		},
		"Clients.Close": func(t *testing.T, c *pool.Clients, _ *pool.Subscription, _ func()) {
			t.Helper()
			require.NoError(t, c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, k := shared(t), key(t)
			cfg.ClientName = "leaving-" + strings.ToLower(name)
			watcher := open(t, shared(t)).Standard()
			connections := func() int {
				list := watcher.ClientList(t.Context()).Val()
				return strings.Count(list, " name="+cfg.ClientName+" ")
			}
			c := open(t, cfg)
			before := connections()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sub, err := c.Subscribe(ctx, k)
			require.NoError(t, err)
			require.Equal(t, before+1, connections())
			for range 200 { // nobody reads, so that it is waiting for room
				require.NoError(t, watcher.Publish(t.Context(), k, "v").Err())
			}
			awaitQueued(t, sub, 99)
			messages := sub.Channel()
			end(t, c, sub, cancel)
			require.Eventually(t, func() bool { return connections() <= before }, 10*time.Second, time.Millisecond)
			require.Eventually(t, func() bool { _, more := <-messages; return !more }, 10*time.Second, time.Millisecond)
			require.Empty(t, sub.Stats().Node)
		})
	}
}

func TestSubscribe_TooLarge(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--client-output-buffer-limit", "pubsub", "0", "0", "0"}})
	c := open(t, pool.Config{Addr: srv.Addr()})
	h := listen(t, c, "ch")
	require.NoError(t, c.Standard().Publish(t.Context(), "ch", make([]byte, 33<<20)).Err())
	require.ErrorContains(t, h.awaitGap(t).Why, `a message of 34603008 bytes on "ch"`)
	h.awaitMessage(t, c.Standard(), "ch", "after")
}

func TestSubscribe_NotInForce(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c := open(t, pool.Hurry(pool.Config{Addr: proxy.Addr()}, 0, time.Second))
	proxy.Refuse()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errStop)
	defer cancel()
	_, err := c.Subscribe(ctx, "ch")
	require.ErrorIs(t, err, errStop)
	_, err = c.Subscribe(t.Context(), "ch")
	require.ErrorContains(t, err, "not in force after 1s")
	require.ErrorContains(t, err, "connection refused")
}

// Close comes while others are about to subscribe.
func TestSubscribe_RacesClose(t *testing.T) {
	t.Parallel()
	cfg, k := shared(t), key(t)
	cfg.ClientName = "races-close"
	watcher := open(t, shared(t)).Standard()
	c := open(t, cfg)
	started := make(chan struct{}, 1000)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for {
				sub, err := c.Subscribe(t.Context(), k)
				if err != nil {
					require.ErrorIs(t, err, redis.ErrClosed)
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
				if len(started)%2 == 0 {
					require.NoError(t, sub.Close())
				}
			}
		})
	}
	for range 30 {
		<-started
	}
	require.NoError(t, c.Close())
	wg.Wait()
	require.Eventually(t, func() bool {
		return !strings.Contains(watcher.ClientList(t.Context()).Val(), " name=races-close ")
	}, 10*time.Second, 5*time.Millisecond)
}

func TestSubscribe_TLS(t *testing.T) {
	t.Parallel()
	s := serveTLS(t, sharedAddr(t))
	c, k := open(t, pool.Config{Addr: s.addr, TLS: s.client, Profile: quickly}), key(t)
	plain := open(t, shared(t)).Standard()
	h := listen(t, c, k)
	h.awaitMessage(t, plain, k, "before")
	s.hangUp()
	h.awaitGap(t)
	h.awaitMessage(t, plain, k, "after")
}
