package redisstream_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

var errBad = errors.New("this message is wrong")

func TestSource_DeliversEachEntryOnce(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	ids := publish(t, rdb, stream, 1, 1)
	publish(t, rdb, stream, 2, 3000)
	var seen tally
	var first atomic.Pointer[message]
	c, stop := start(t, rdb, config(stream), consumer.Config{MaxInFlight: 300}, func(_ context.Context, m *message) error {
		if seen.add(m); string(m.Value) == "1" {
			first.Store(m)
		}
		return nil
	})
	seen.has(t, 1, 3000)
	publish(t, rdb, stream, 3001, 3100)
	seen.has(t, 1, 3100)
	drained(t, rdb, stream)
	require.NoError(t, stop())
	require.Equal(t, 3100, seen.total())
	require.EqualValues(t, 3100, c.Stats().MessageCount)
	require.Zero(t, c.Stats().InFlight)
	require.Empty(t, groupNames(t, rdb, stream), "the consumer took its leave")

	m := first.Load()
	require.Equal(t, stream+"/"+ids[0], m.ID)
	ms, _, _ := strings.Cut(ids[0], "-")
	require.Equal(t, ms, strconv.FormatInt(m.At.UnixMilli(), 10), "the time is that of the id")
	require.Equal(t, "test", m.Header("kind"))
	require.Empty(t, m.Header("none"))
	require.Equal(t, 1, m.Attempt)
}

func TestSource_StartsWhereItIsTold(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	ids := publish(t, rdb, stream, 1, 10)
	for from, want := range map[string]int{"0": 10, ids[6]: 3, "$": 0} {
		cfg := config(stream)
		cfg.Group, cfg.Start = "from "+from, from
		src, err := redisstream.New(rdb, cfg)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		raws, err := src.Receive(ctx, consumer.Credit{Count: 100, Bytes: 1000})
		cancel()
		require.Len(t, raws, want, from)
		if want == 0 {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.NoError(t, src.Close(t.Context()))
	}
}

func TestSource_SharesTheLoad(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	var seen [2]tally
	var all tally
	for i := range seen {
		start(t, rdb, config(stream), consumer.Config{MaxInFlight: 20}, func(_ context.Context, m *message) error {
			seen[i].add(m)
			all.add(m)
			<-time.After(time.Millisecond)
			return nil
		})
	}
	publish(t, rdb, stream, 1, 2000)
	all.has(t, 1, 2000)
	drained(t, rdb, stream)
	require.Equal(t, 2000, all.total(), "none was delivered to both")
	require.Greater(t, seen[0].len(), 200)
	require.Greater(t, seen[1].len(), 200)
}

func TestSource_TriesAgainInTime(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	var mu sync.Mutex
	var attempts []int
	var times []time.Time
	cfg := consumer.Config{MinBackoff: 100 * time.Millisecond, MaxBackoff: 200 * time.Millisecond}
	start(t, rdb, config(stream), cfg, func(_ context.Context, m *message) error {
		mu.Lock()
		defer mu.Unlock()
		attempts, times = append(attempts, m.Attempt), append(times, time.Now())
		if m.Attempt < 4 {
			return errBad
		}
		return nil
	})
	publish(t, rdb, stream, 1, 1)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(attempts) == 4
	}, patience, 5*time.Millisecond)
	drained(t, rdb, stream)
	require.Equal(t, []int{1, 2, 3, 4}, attempts)
	for i, least := range []time.Duration{80, 160, 160} {
		require.GreaterOrEqual(t, times[i+1].Sub(times[i]), least*time.Millisecond)
	}
	require.Less(t, times[3].Sub(times[0]), 4*time.Second, "a read that blocks is woken")
}

func TestSource_BuriesAPoisonMessageOnce(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 9)
	var seen tally
	cfg := consumer.Config{MaxAttempts: 2, MinBackoff: 10 * time.Millisecond}
	c, stop := start(t, rdb, config(stream), cfg, func(_ context.Context, m *message) error {
		seen.add(m)
		switch string(m.Value) {
		case "3":
			panic("three")
		case "4":
			return consumer.Permanent(errBad)
		}
		return nil
	})
	require.Eventually(t, func() bool { return c.Stats().Dead == 2 }, patience, 5*time.Millisecond)
	seen.has(t, 1, 9)
	drained(t, rdb, stream)
	require.NoError(t, stop())
	letters, err := rdb.XRange(t.Context(), stream+":dead", "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, letters, 2)
	by := map[any]map[string]any{}
	for _, l := range letters {
		by[l.Values["payload"]] = l.Values
	}
	require.Equal(t, "panic: three", by["3"]["upbeat_reason"])
	require.Equal(t, "2", by["3"]["upbeat_attempts"])
	require.Equal(t, "group", by["3"]["upbeat_group"])
	require.Equal(t, "test", by["3"]["kind"])
	require.Contains(t, by["3"]["upbeat_stack"], "TestSource_BuriesAPoisonMessageOnce")
	require.Contains(t, by["3"]["upbeat_id"], stream+"/")
	require.Equal(t, errBad.Error(), by["4"]["upbeat_reason"])
	require.Equal(t, "1", by["4"]["upbeat_attempts"])
}

// Settling the same outcomes again changes nothing: not even dead letters come twice.
func TestSource_SettlesIdempotently(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 4)
	src, err := redisstream.New(rdb, config(stream))
	require.NoError(t, err)
	raws, err := src.Receive(t.Context(), consumer.Credit{Count: 10, Bytes: 1000})
	require.NoError(t, err)
	require.Len(t, raws, 4)
	outcomes := []consumer.Outcome{
		{Raw: &raws[0], Kind: consumer.Ack},
		{Raw: &raws[1], Kind: consumer.Dead, Err: errBad},
		{Raw: &raws[2], Kind: consumer.Retry, After: 20 * time.Second, Err: errBad},
		{Raw: &raws[3], Kind: consumer.Release, After: time.Hour},
	}
	for range 3 {
		require.NoError(t, src.Settle(t.Context(), outcomes))
	}
	letters, err := rdb.XLen(t.Context(), stream+":dead").Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, letters)
	left, err := rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: stream, Group: "group", Start: "-", End: "+", Count: 10}).Result()
	require.NoError(t, err)
	require.Len(t, left, 2)
	require.EqualValues(t, 2, left[0].RetryCount, "a failure counts, once")
	require.EqualValues(t, 1, left[1].RetryCount, "a release doesn't")
	require.InDelta(t, 40*time.Second, left[0].Idle, float64(10*time.Second), "20 s less than a lease")
	require.Less(t, left[1].Idle, 10*time.Second, "a whole lease at most")
	require.NoError(t, src.Close(t.Context()))
	require.NotEmpty(t, groupNames(t, rdb, stream), "a consumer with pending entries must stay")
}

func TestSource_StopsWithoutDelay(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := config(stream)
	cfg.Block = time.Hour
	var seen tally
	_, stop := start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
		seen.add(m)
		return nil
	})
	publish(t, rdb, stream, 1, 1)
	seen.has(t, 1, 1)
	drained(t, rdb, stream) // it blocks again, or is about to
	begun := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestSource_GivesBackUncounted(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 50)
	started := make(chan struct{}, 50)
	handle := make(chan struct{})
	_, stop := start(t, rdb, config(stream), consumer.Config{Concurrency: 2}, func(context.Context, *message) error {
		started <- struct{}{}
		<-handle
		return nil
	})
	<-started
	<-started
	require.Eventually(t, func() bool { return pending(t, rdb, stream) == 50 }, patience, 5*time.Millisecond)
	go func() { time.AfterFunc(100*time.Millisecond, func() { close(handle) }) }()
	require.NoError(t, stop())
	require.EqualValues(t, 48, pending(t, rdb, stream))

	var seen tally
	start(t, rdb, config(stream), consumer.Config{}, func(_ context.Context, m *message) error {
		seen.add(m)
		if m.Attempt != 1 {
			return errBad
		}
		return nil
	})
	require.Eventually(t, func() bool { return seen.len() == 48 }, patience, 5*time.Millisecond)
	drained(t, rdb, stream)
}

func TestSource_KnowsItsLag(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 30)
	cfg := config(stream)
	cfg.Batch = 10
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	lag, err := src.Lag(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, -1, lag, "there is no group yet")
	_, err = src.Receive(t.Context(), consumer.Credit{Count: 100, Bytes: 1000})
	require.NoError(t, err)
	lag, err = src.Lag(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 20, lag)
	// As after failovers: https://github.com/redis/redis/pull/12898.
	require.NoError(t, rdb.Do(t.Context(), "xgroup", "setid", stream, "group", "$", "entriesread", 10).Err())
	groups, err := rdb.XInfoGroups(t.Context(), stream).Result()
	require.NoError(t, err)
	require.EqualValues(t, 20, groups[0].Lag)
	lag, err = src.Lag(t.Context())
	require.NoError(t, err)
	require.Zero(t, lag)
	require.NoError(t, src.Close(t.Context()))
}

func TestSource_ReadsWhatFits(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	for range 100 {
		require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", strings.Repeat("x", 1000)}}).Err())
	}
	src, err := redisstream.New(rdb, config(stream))
	require.NoError(t, err)
	receive := func(credit consumer.Credit) int {
		raws, err := src.Receive(t.Context(), credit)
		require.NoError(t, err)
		return len(raws)
	}
	require.Equal(t, 16, receive(consumer.Credit{Count: 100, Bytes: 1 << 20}), "carefully at first")
	require.Equal(t, 5, receive(consumer.Credit{Count: 100, Bytes: 5000}))
	require.Equal(t, 1, receive(consumer.Credit{Count: 100, Bytes: 1}))
	require.Equal(t, 3, receive(consumer.Credit{Count: 3, Bytes: 1 << 20}))
	require.Equal(t, 32, receive(consumer.Credit{Count: 100, Bytes: 1 << 20}))
	require.NoError(t, src.Close(t.Context()))
}

func TestSource_ReadsSeveralStreams(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := config(stream)
	cfg.Streams = append(cfg.Streams, stream+":2", stream+":3")
	var seen tally
	// An idle stream must not hold up the others, however few credits there are.
	cfg.Block = 20 * time.Millisecond
	start(t, rdb, cfg, consumer.Config{MaxInFlight: 1}, func(_ context.Context, m *message) error {
		seen.add(m)
		return nil
	})
	publish(t, rdb, stream, 1, 10)
	publish(t, rdb, stream+":3", 11, 20)
	seen.has(t, 1, 20)
}

func TestNew_TellsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{})
	defer rdb.Close()
	_, err := redisstream.New(rdb, redisstream.Config{Streams: []string{"a", "a"}, Start: "x", Batch: -1, Block: -1, Lease: time.Millisecond})
	for _, want := range []string{
		`Config.Streams is ["a" "a"]`, `Config.Group is ""`, `Config.Start is "x"`, "Config.Batch is -1: want 1 to 100000, or 0 for 1000",
		"Config.Block is -1ns", "Config.Lease is 1ms: want 1s to 24h, or 0 for 1m",
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = redisstream.New(rdb, redisstream.Config{Group: "g"})
	require.ErrorContains(t, err, "Config.Streams is empty")
	for _, name := range []string{"", "a\x00", "\x1b[2J", "\xff", strings.Repeat("a", 257)} {
		_, err = redisstream.New(rdb, redisstream.Config{Streams: []string{name}, Group: name, Consumer: "c" + name})
		require.ErrorContains(t, err, "Config.Streams is")
		require.ErrorContains(t, err, "Config.Group is")
		require.Equal(t, name != "", strings.Contains(err.Error(), "Config.Consumer is"), "%v", err)
	}
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err = redisstream.New(ring, config("s"))
	require.ErrorContains(t, err, "client is a *redis.Ring")
	for _, none := range []redis.UniversalClient{nil, (*redis.Client)(nil), (*redis.ClusterClient)(nil)} {
		_, err = redisstream.New(none, config("s"))
		require.EqualError(t, err, "redisstream: client is nil: want a *redis.Client or a *redis.ClusterClient")
	}
}

func TestCluster_KeepsDeadLettersInTheSlot(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{})
	defer cluster.Close()
	for stream, want := range map[string]string{"a:b": "{a:b}:dead", "{a}:b": "{a}:b:dead", "a{}b": "", "a}b": "", "{a": ""} {
		src, err := redisstream.New(cluster, config(stream))
		if want == "" {
			require.ErrorContains(t, err, "hash tag", stream)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, src.KeepsDead())
	}
}

func TestCluster_ReadsFromAllNodes(t *testing.T) {
	t.Parallel()
	nodes := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes.Addrs()})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	cfg := config("a")
	cfg.Streams = []string{"a", "b", "c", "d", "e"}
	for i, stream := range cfg.Streams {
		publish(t, rdb, stream, 100*i+1, 100*i+100)
	}
	var seen tally
	c, stop := start(t, rdb, cfg, consumer.Config{MaxAttempts: 1}, func(_ context.Context, m *message) error {
		seen.add(m)
		if strings.HasSuffix(string(m.Value), "7") {
			return errBad
		}
		return nil
	})
	seen.has(t, 1, 500)
	for _, stream := range cfg.Streams {
		drained(t, rdb, stream)
		letters, err := rdb.XLen(t.Context(), "{"+stream+"}:dead").Result()
		require.NoError(t, err)
		require.EqualValues(t, 10, letters)
	}
	require.EqualValues(t, 50, c.Stats().Dead)
	require.NoError(t, stop())
}
