package heartbeat_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

const eventually = 15 * time.Second

func connect(tb testing.TB, url string, edit func(*redis.Options)) *redis.Client {
	tb.Helper()
	opt, err := redis.ParseURL(url)
	require.NoError(tb, err)
	if edit != nil {
		edit(opt)
	}
	rdb := redis.NewClient(opt)
	tb.Cleanup(func() { require.NoError(tb, rdb.Close()) })
	return rdb
}

// unique makes names that no other test uses.
func unique(tb testing.TB) string {
	tb.Helper()
	return strings.NewReplacer("/", "-", " ", "-").Replace(tb.Name()) + "-" + time.Now().Format("150405.000000000")
}

// listen subscribes and returns when the server has confirmed it.
func listen(t *testing.T, rdb redis.UniversalClient, channels ...string) <-chan *redis.Message {
	t.Helper()
	sub := rdb.Subscribe(t.Context(), channels...)
	t.Cleanup(func() { _ = sub.Close() })
	for range channels {
		_, err := sub.Receive(t.Context())
		require.NoError(t, err)
	}
	return sub.Channel()
}

func receive(t *testing.T, messages <-chan *redis.Message) *redis.Message {
	t.Helper()
	select {
	case msg := <-messages:
		return msg
	case <-time.After(eventually):
		require.Fail(t, "no message")
		return nil
	}
}

func newPublisher(tb testing.TB, rdb redis.UniversalClient, service string, cfg heartbeat.Config) *heartbeat.Publisher {
	tb.Helper()
	if cfg.Logger == nil {
		cfg.Logger = new(journal).logger()
	}
	pub, err := heartbeat.NewPublisher(rdb, service, cfg)
	require.NoError(tb, err)
	return pub
}

func TestPublisher_ReachesAllPlaces(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	service := unique(t)
	long, short := "health:service:"+service+":heartbeat", "heartbeat:service:"+service
	messages := listen(t, rdb, long, short)
	pub := newPublisher(t, rdb, service, heartbeat.Config{
		Instance: "i1", Stream: service, Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel},
	})
	require.NoError(t, pub.Collect("queue_size", constant(7)))
	require.NoError(t, pub.Beat(t.Context()))

	first, second := receive(t, messages), receive(t, messages)
	require.ElementsMatch(t, []string{long, short}, []string{first.Channel, second.Channel})
	require.Equal(t, first.Payload, second.Payload)
	beat, err := heartbeat.ParseBeat([]byte(first.Payload))
	require.NoError(t, err)
	require.Equal(t, service, beat.Service)
	require.Greater(t, beat.MemoryMB, 1.0)
	queue, _ := beat.Field("queue_size")
	require.Equal(t, "7", string(queue))

	key := "health:last:" + service + ":i1"
	require.Equal(t, first.Payload, rdb.Get(t.Context(), key).Val())
	require.InDelta(t, 600, rdb.TTL(t.Context(), key).Val().Seconds(), 30)

	entries, err := rdb.XRange(t.Context(), service, "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, map[string]any{"channel": long, "payload": first.Payload}, entries[0].Values)
}

func TestPublisher_RetainCanBeOff(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	service := unique(t)
	pub := newPublisher(t, rdb, service, heartbeat.Config{Retain: -1})
	require.NoError(t, pub.Beat(t.Context()))
	require.Zero(t, rdb.Exists(t.Context(), "health:last:"+service+":"+pub.Instance()).Val())
}

func TestPublisher_StreamIsCapped(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	tests := map[string]struct {
		maxLen   int64
		low, top int64
	}{
		"capped": {100, 100, 299}, // the server trims by whole nodes of 100
		"not":    {-1, 500, 500},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log journal
			service := unique(t)
			pub := newPublisher(t, rdb, service, heartbeat.Config{Stream: service, StreamMaxLen: tt.maxLen, Logger: log.logger()})
			for range 500 {
				require.NoError(t, pub.Beat(t.Context()))
			}
			length := rdb.XLen(t.Context(), service).Val()
			require.GreaterOrEqual(t, length, tt.low)
			require.LessOrEqual(t, length, tt.top)
			require.NoError(t, start(t, pub)())
			require.Contains(t, log.String(), "stream_max_len=", "the cap is no secret")
		})
	}
}

// meteredConn counts what is written to Redis.
type meteredConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c meteredConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestPublisher_OneBeatIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	var writes atomic.Int64
	rdb := connect(t, testserver.RedisURL(t), func(opt *redis.Options) {
		opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return meteredConn{conn, &writes}, err
		}
	})
	service := unique(t)
	pub := newPublisher(t, rdb, service, heartbeat.Config{
		Stream: service, Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel},
	})
	require.NoError(t, pub.Beat(t.Context())) // connects
	for range 10 {
		before := writes.Load()
		require.NoError(t, pub.Beat(t.Context()))
		require.EqualValues(t, 1, writes.Load()-before)
	}
}

func TestPublisher_LostReplyMakesNoSecondBeat(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, server.Addr())
	direct := connect(t, server.URL(), nil)
	rdb := connect(t, "redis://"+proxy.Addr()+"/0", func(opt *redis.Options) {
		opt.MaxRetries, opt.ReadTimeout = 5, 2*time.Second
	})
	messages := listen(t, direct, "health:service:s:heartbeat")
	pub := newPublisher(t, rdb, "s", heartbeat.Config{Stream: "stream"})
	require.NoError(t, pub.Beat(t.Context()))
	ready := make([]*redis.Conn, 8) // connections that a retry could use
	for i := range ready {
		ready[i] = rdb.Conn()
		require.NoError(t, ready[i].Ping(t.Context()).Err())
	}
	for _, conn := range ready {
		require.NoError(t, conn.Close())
	}

	proxy.DropReplies()
	require.Error(t, pub.Beat(t.Context()))
	proxy.Pass()
	require.NoError(t, pub.Beat(t.Context()))
	require.EqualValues(t, 3, direct.XLen(t.Context(), "stream").Val())
	for count := range 3 {
		beat, err := heartbeat.ParseBeat([]byte(receive(t, messages).Payload))
		require.NoError(t, err)
		require.EqualValues(t, count+1, beat.Count)
	}
	require.Empty(t, messages)
	require.EqualValues(t, 1, pub.Stats().Failed)
}

func TestPublisher_DeafClientIsBounded(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	proxy := testserver.StartProxy(t, server.Addr())
	rdb := connect(t, "redis://"+proxy.Addr()+"/0", func(opt *redis.Options) { opt.ReadTimeout = -1 })
	pub := newPublisher(t, rdb, "s", heartbeat.Config{Timeout: 100 * time.Millisecond})
	beats := func() bool { return pub.Beat(t.Context()) == nil }
	require.Eventually(t, beats, eventually, time.Millisecond)
	proxy.BlackHole()
	require.ErrorContains(t, pub.Beat(t.Context()), "no answer within 100ms", "though the client would wait for ever")
	proxy.Pass()
	require.Eventually(t, beats, eventually, time.Millisecond)
}

func TestPublisher_OutlivesAnOutage(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := connect(t, server.URL(), nil)
	var log journal
	pub := newPublisher(t, rdb, "s", heartbeat.Config{Interval: 200 * time.Millisecond, Instance: "i", Logger: log.logger()})
	stop := start(t, pub)
	published := func() uint64 { return pub.Stats().Published }
	require.Eventually(t, func() bool { return published() >= 2 }, eventually, time.Millisecond)

	server.Kill()
	require.Eventually(t, func() bool { return pub.Stats().FailedInARow >= 5 }, eventually, time.Millisecond)
	episodes := 1 + log.count("get through again") // more than one on a machine so busy that Redis seemed away
	require.Equal(t, episodes, log.count("level=WARN"), "%s", &log)

	server.Start()
	before := published()
	require.Eventually(t, func() bool { return published() >= before+3 }, eventually, time.Millisecond)
	require.Contains(t, log.String(), "get through again")

	require.NoError(t, stop())
	goodbye, err := heartbeat.ParseBeat([]byte(rdb.Get(t.Context(), "health:last:s:i").Val()))
	require.NoError(t, err)
	require.Equal(t, heartbeat.PhaseStopped, goodbye.Phase, "the retained copy knows, too")
	require.Equal(t, pub.Stats().Count, goodbye.Count)
}

func TestPublisher_PartialFailureIsAnError(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	service := unique(t)
	require.NoError(t, rdb.Set(t.Context(), service, "no stream", time.Minute).Err())
	messages := listen(t, rdb, "health:service:"+service+":heartbeat")
	pub := newPublisher(t, rdb, service, heartbeat.Config{Stream: service})
	err := pub.Beat(t.Context())
	require.ErrorContains(t, err, "xadd: WRONGTYPE")
	require.NotContains(t, err.Error(), "publish", "what went well is not blamed")
	require.EqualValues(t, 1, pub.Stats().Failed)
	receive(t, messages)
}

// vetoHook fails pipelines before they are sent.
type vetoHook struct{ redis.Hook }

func (vetoHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errDown }
}
func (vetoHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (vetoHook) DialHook(next redis.DialHook) redis.DialHook          { return next }

func TestPublisher_HookThatRefusesIsAnError(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	rdb.AddHook(vetoHook{})
	require.ErrorIs(t, newPublisher(t, rdb, unique(t), heartbeat.Config{}).Beat(t.Context()), errDown)
}

func TestPublisher_Cluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	messages := listen(t, rdb, "health:service:s:heartbeat", "heartbeat:service:s")
	pub := newPublisher(t, rdb, "s", heartbeat.Config{
		Instance: "i", Stream: "stream", Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel},
	})
	for range 4 { // the client spreads PUBLISH over the nodes
		require.NoError(t, pub.Beat(t.Context()))
		require.Equal(t, receive(t, messages).Payload, receive(t, messages).Payload)
	}
	require.EqualValues(t, 4, rdb.XLen(t.Context(), "stream").Val())
	require.Positive(t, rdb.TTL(t.Context(), "health:last:s:i").Val())

	slot := int(rdb.ClusterKeySlot(t.Context(), "stream").Val())
	from := slot * len(cluster.Nodes) / 16384
	cluster.MoveSlot(slot, cluster.Nodes[from], cluster.Nodes[(from+1)%len(cluster.Nodes)])
	require.NoError(t, pub.Beat(t.Context()), "a redirection is no second attempt")
	require.EqualValues(t, 5, rdb.XLen(t.Context(), "stream").Val())
}
