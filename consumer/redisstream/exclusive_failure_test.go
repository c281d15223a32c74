package redisstream_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestExclusive_SurvivesARestartOfRedis(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	rdb := client(t, server.URL())
	cfg := exclusive("s", 3)
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: "s", Partitions: 3})
	var seen order
	for range 2 {
		start(t, rdb, cfg, consumer.Config{Key: redisstream.Key, MaxInFlight: 50}, seen.handle)
	}
	for cycle := range 2 {
		sequences(t, p, 10, 100*cycle, 100*cycle+99)
		require.Eventually(t, func() bool { return seen.reached(t, 10, 100*cycle+10) }, patience, time.Millisecond)
		server.Kill()
		server.Start()
	}
	require.Eventually(t, func() bool { return seen.reached(t, 10, 200) }, patience, 5*time.Millisecond)
}

// Nothing is left but the consumers: neither streams nor groups nor owners.
func TestExclusive_SurvivesAFlush(t *testing.T) {
	t.Parallel()
	rdb := private(t)
	cfg := exclusive("s", 3)
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: "s", Partitions: 3})
	var seen order
	for range 2 {
		start(t, rdb, cfg, consumer.Config{Key: redisstream.Key}, seen.handle)
	}
	for cycle := range 3 {
		sequences(t, p, 10, 50*cycle, 50*cycle+49)
		require.Eventually(t, func() bool { return seen.reached(t, 10, 50*cycle+50) }, patience, time.Millisecond)
		require.NoError(t, rdb.FlushAll(t.Context()).Err())
	}
}

func TestCluster_FollowsASlot(t *testing.T) {
	t.Parallel()
	nodes := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	for name, isExclusive := range map[string]bool{"shared": false, "exclusive": true} {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes.Addrs()})
		t.Cleanup(func() { require.NoError(t, rdb.Close()) })
		cfg := exclusive(name, 3)
		cfg.Exclusive = isExclusive
		p := producer(t, rdb, redisstream.ProducerConfig{Stream: name, Partitions: 3})
		ccfg := consumer.Config{MaxInFlight: 100}
		var seen order
		if ccfg.Key = redisstream.Key; !isExclusive {
			ccfg.Concurrency = 1 // a single consumer
		}
		start(t, rdb, cfg, ccfg, seen.handle)
		slot := int(rdb.ClusterKeySlot(t.Context(), cfg.Streams[1]).Val())
		home := slot * 3 / 16384
		for move := range 2 {
			sequences(t, p, 12, 100*move, 100*move+49)
			require.Eventually(t, func() bool { return seen.reached(t, 12, 100*move+20) }, patience, time.Millisecond)
			nodes.MoveSlot(slot, nodes.Nodes[(home+move)%3], nodes.Nodes[(home+move+1)%3])
			sequences(t, p, 12, 100*move+50, 100*move+99)
			require.Eventually(t, func() bool { return seen.reached(t, 12, 100*move+100) }, patience, 5*time.Millisecond)
		}
	}
}

// receiveAll receives until so many messages have come, and returns their payloads.
func receiveAll(t *testing.T, src *redisstream.Source, n int) (payloads []string) {
	t.Helper()
	for begun := time.Now(); len(payloads) < n && time.Since(begun) < patience; {
		raws, _ := src.Receive(t.Context(), consumer.Credit{Count: 3, Bytes: 1000}) // a failure is made good by the next call
		for _, raw := range raws {
			payloads = append(payloads, string(raw.Payload))
		}
	}
	return payloads
}

// What was pending with the owner before comes first, however short its lease had run.
func TestExclusive_TakesUpWhatAnybodyHeld(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := exclusive(stream, 1)
	cfg.Lease, cfg.Block = time.Hour, 20*time.Millisecond
	part := cfg.Streams[0]
	publish(t, rdb, part, 1, 6)
	var sources []*redisstream.Source
	for _, name := range []string{"dead", "heir"} {
		cfg.Consumer = name
		src, err := redisstream.New(rdb, cfg)
		require.NoError(t, err)
		sources = append(sources, src)
	}
	require.Equal(t, []string{"1", "2", "3"}, receiveAll(t, sources[0], 3))
	require.NoError(t, rdb.Del(t.Context(), part+":owner:group", part+":members:group").Err())
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6"}, receiveAll(t, sources[1], 6))
	for _, src := range sources {
		require.NoError(t, src.Close(t.Context()))
	}
}

func TestExclusive_LostReplyBreaksNoOrder(t *testing.T) {
	t.Parallel()
	direct, stream := shared(t)
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	cfg := exclusive(stream, 1)
	cfg.Lease = time.Hour
	part := cfg.Streams[0]
	publish(t, direct, part, 1, 9)
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3"}, receiveAll(t, src, 3))
	proxy.DropReplies()
	rest := make(chan []string)
	go func() { rest <- receiveAll(t, src, 6) }()
	require.Eventually(t, func() bool { return pending(t, direct, part) == 6 }, patience, time.Millisecond)
	<-time.After(200 * time.Millisecond) // for the reply to get lost
	proxy.Pass()
	require.Equal(t, []string{"4", "5", "6", "7", "8", "9"}, <-rest)
	require.NoError(t, src.Close(t.Context()))
}
