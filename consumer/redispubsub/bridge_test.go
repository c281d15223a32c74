package redispubsub_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redispubsub"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// bridge returns one that runs and hears.
func bridge(t *testing.T, rdb redis.UniversalClient, name string, change func(*redispubsub.BridgeConfig)) (b *redispubsub.Bridge, stop func() error) {
	t.Helper()
	cfg := redispubsub.BridgeConfig{From: config(name), Stream: name + ":stream"}
	if change != nil {
		change(&cfg)
	}
	b, err := redispubsub.NewBridge(rdb, cfg)
	require.NoError(t, err)
	stop = run(t, b.Run)
	eventually(t, func() bool { return b.Stats().Node != "" })
	return b, stop
}

// entries are the payloads in the stream.
func entries(t *testing.T, rdb *redis.Client, stream string) (all []string) {
	t.Helper()
	list, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
	require.NoError(t, err)
	for _, e := range list {
		all = append(all, e.Values["payload"].(string))
	}
	return all
}

func TestBridge_TwoOfThemAddEachMessageOnce(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	one, stopOne := bridge(t, rdb, name, nil)
	other, stopOther := bridge(t, rdb, name, nil)
	var sent []string
	for i := 1; i <= 500; i++ {
		sent = append(sent, beat("a", "r1", i), beat("b", "", i), fmt.Sprintf("event %d", i))
	}
	sent = append(sent, beat("a", "r2", 1)) // a new life
	publish(t, rdb, name, sent...)
	eventually(t, func() bool {
		s, o := one.Stats(), other.Stats()
		return s.Added+s.Repeated == 1501 && o.Added+o.Repeated == 1501
	})
	require.NoError(t, stopOne())
	require.NoError(t, stopOther())
	require.EqualValues(t, 1501, one.Stats().Added+other.Stats().Added)
	require.ElementsMatch(t, sent, entries(t, rdb, name+":stream"))
	ttl := rdb.PTTL(t.Context(), "{"+name+":stream}:seen").Val()
	require.True(t, ttl > 9*time.Minute && ttl <= 10*time.Minute, ttl)
}

func TestBridge_StreamIsOneForConsumers(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	bridge(t, rdb, name, nil)
	publish(t, rdb, name, beat("a", "r", 1))
	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{name + ":stream"}, Group: "g", Logger: quiet})
	require.NoError(t, err)
	got := make(chan string, 1)
	c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[[]byte]) error {
		got <- fmt.Sprint(m.Header("channel"), " ", m.Header("id"), " ", string(m.Value))
		return nil
	}, consumer.Config{Logger: quiet})
	require.NoError(t, err)
	run(t, c.Run)
	require.Equal(t, name+" api/a/r/1 "+beat("a", "r", 1), <-got)
}

func TestBridge_SameBytesAreOneMessageWithinTheWindow(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	b, _ := bridge(t, rdb, name, func(c *redispubsub.BridgeConfig) {
		c.Window = time.Second
		c.From.Channels = append(c.From.Channels, name+":2")
	})
	publish(t, rdb, name, "tick", "tick")
	publish(t, rdb, name+":2", "tick")
	eventually(t, func() bool { return b.Stats().Added == 2 && b.Stats().Repeated == 1 })
	eventually(t, func() bool {
		publish(t, rdb, name, "tick")
		return b.Stats().Added == 3
	})
	require.Equal(t, []string{"tick", "tick", "tick"}, entries(t, rdb, name+":stream"))
}

func TestBridge_KeepsWhatRedisRefuses(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	require.NoError(t, rdb.Set(t.Context(), name+":stream", "no stream", 0).Err())
	b, stop := bridge(t, rdb, name, nil)
	publish(t, rdb, name, numbered(1000)...)
	eventually(t, func() bool { return b.Stats().Outage && b.Stats().Waiting == 1000 })
	require.NoError(t, rdb.Del(t.Context(), name+":stream").Err())
	eventually(t, func() bool { return b.Stats().Added == 1000 })
	require.NoError(t, stop())
	require.ElementsMatch(t, numbered(1000), entries(t, rdb, name+":stream"))
	require.Zero(t, b.Stats().Dropped)
}

func TestBridge_LostRepliesAddNothingTwice(t *testing.T) {
	t.Parallel()
	direct, name := shared(t)
	require.NoError(t, direct.Set(t.Context(), name+":stream", "no stream", 0).Err())
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	b, stop := bridge(t, client(t, proxy.Addr()), name, nil)
	publish(t, direct, name, numbered(300)...)
	eventually(t, func() bool { return b.Stats().Outage && b.Stats().Waiting == 300 })
	proxy.DropReplies()
	require.NoError(t, direct.Del(t.Context(), name+":stream").Err())
	eventually(t, func() bool { return direct.XLen(t.Context(), name+":stream").Val() > 0 })
	require.Zero(t, b.Stats().Added)
	proxy.Pass()
	eventually(t, func() bool { return b.Stats().Waiting == 0 })
	require.NoError(t, stop())
	require.Positive(t, b.Stats().Repeated)
	require.ElementsMatch(t, numbered(300), entries(t, direct, name+":stream"))
}

func TestBridge_AddsWhatWasHeardBeforeItEnds(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	for range testserver.Times(5, 100) {
		b, stop := bridge(t, rdb, name, func(c *redispubsub.BridgeConfig) { c.DrainTimeout = time.Minute })
		payloads := numbered(2000)
		for i := range payloads {
			payloads[i] += time.Now().String()
		}
		publish(t, rdb, name, payloads...)
		eventually(t, func() bool { return b.Stats().Heard > 0 })
		begun := time.Now()
		require.NoError(t, stop())
		require.Less(t, time.Since(begun), patience, "it waits no longer than it has to")
		s := b.Stats()
		require.Equal(t, s.Heard, s.Added)
		require.Zero(t, s.Dropped)
		require.Zero(t, s.Waiting)
		require.Equal(t, payloads[:s.Heard], entries(t, rdb, name+":stream"), "in order")
		require.NoError(t, rdb.Del(t.Context(), name+":stream").Err())
	}
}

func TestBridge_SaysWhatItCouldNotAdd(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	require.NoError(t, rdb.Set(t.Context(), name+":stream", "no stream", 0).Err())
	b, stop := bridge(t, rdb, name, func(c *redispubsub.BridgeConfig) { c.DrainTimeout = -1 })
	publish(t, rdb, name, numbered(50)...)
	eventually(t, func() bool { return b.Stats().Outage && b.Stats().Heard == 50 })
	require.ErrorContains(t, stop(), "50 messages were heard and not added")
	require.EqualValues(t, 50, b.Stats().Dropped)
}

func TestBridge_TrimsWhenTold(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	b, _ := bridge(t, rdb, name, func(c *redispubsub.BridgeConfig) { c.MaxLen = 100 })
	all := numbered(1000)
	publish(t, rdb, name, all...)
	eventually(t, func() bool { return b.Stats().Added == 1000 })
	left := entries(t, rdb, name+":stream")
	require.True(t, len(left) >= 100 && len(left) < 300, len(left))
	require.Equal(t, "999", slices.Max(left))
}

func TestBridge_InClusterWritesToOneSlot(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	for i := range 4 { // on several nodes, with and without a tag
		name := fmt.Sprintf([]string{"beats%d", "{beats}%d"}[i%2], i)
		one, _ := bridge(t, rdb, name, nil)
		other, _ := bridge(t, rdb, name, nil)
		publish(t, rdb, name, numbered(100)...)
		eventually(t, func() bool {
			s, o := one.Stats(), other.Stats()
			return s.Added+s.Repeated == 100 && o.Added+o.Repeated == 100
		})
		require.EqualValues(t, 100, rdb.XLen(t.Context(), name+":stream").Val())
	}
}
