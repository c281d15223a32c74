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
