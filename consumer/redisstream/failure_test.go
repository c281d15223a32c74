package redisstream_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// abandon reads like a consumer that then dies: what it got stays pending.
func abandon(t *testing.T, rdb *redis.Client, cfg redisstream.Config, n int) {
	t.Helper()
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	for n > 0 {
		raws, err := src.Receive(t.Context(), consumer.Credit{Count: n, Bytes: 1 << 20})
		require.NoError(t, err)
		n -= len(raws)
	}
	require.NoError(t, src.Close(t.Context()))
}

func TestSource_ReclaimsFromDeadConsumers(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 1200)
	cfg := config(stream)
	cfg.Lease = time.Second
	abandon(t, rdb, cfg, 1200)
	begun := time.Now()
	var seen tally
	start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
		if m.Attempt == 1 {
			seen.add(m)
		}
		return nil
	})
	seen.has(t, 1, 1200)
	require.Greater(t, time.Since(begun), 500*time.Millisecond)
	drained(t, rdb, stream)
}

func TestSource_TakesUpWhatItHeldUnderTheSameName(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 1200)
	cfg := config(stream)
	cfg.Consumer, cfg.Lease = "steady", time.Hour
	abandon(t, rdb, cfg, 1200)
	var seen tally
	start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
		seen.add(m)
		return nil
	})
	seen.has(t, 1, 1200)
	drained(t, rdb, stream)
	require.Equal(t, 1200, seen.total())
}

func TestSource_RenewsLeasesOfSlowHandlers(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 40)
	cfg := config(stream)
	cfg.Lease = time.Second
	var seen tally
	var consumers []*consumer.Consumer[[]byte]
	for range 2 {
		c, _ := start(t, rdb, cfg, consumer.Config{Concurrency: 5}, func(_ context.Context, m *message) error {
			seen.add(m)
			<-time.After(700 * time.Millisecond)
			return nil
		})
		consumers = append(consumers, c)
	}
	seen.has(t, 1, 40)
	drained(t, rdb, stream)
	require.Equal(t, 40, seen.total(), "one was stolen")
	for _, c := range consumers {
		require.Zero(t, c.Stats().LeasesLost)
	}
}

// A renewal must not steal back what another consumer was given in the meantime.
func TestSource_NoticesALostLease(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	ids := publish(t, rdb, stream, 1, 3)
	cfg := config(stream)
	cfg.Lease = time.Second
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	raws, err := src.Receive(t.Context(), consumer.Credit{Count: 3, Bytes: 100})
	require.NoError(t, err)
	require.NoError(t, rdb.XClaim(t.Context(), &redis.XClaimArgs{Stream: stream, Group: "group", Consumer: "thief", Messages: ids[1:2]}).Err())
	require.NoError(t, rdb.XAck(t.Context(), stream, "group", ids[2]).Err())
	<-time.After(cfg.Lease / 6)
	lost, err := src.Extend(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{raws[1].ID}, lost)
	require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{
		{Raw: &raws[1], Kind: consumer.Dead, Err: errBad}, {Raw: &raws[0], Kind: consumer.Ack},
	}))
	left, err := rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: stream, Group: "group", Start: "-", End: "+", Count: 10}).Result()
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "thief", left[0].Consumer)
	require.NoError(t, src.Close(t.Context()))
}

func TestSource_CountsWhatWasTrimmed(t *testing.T) {
	t.Parallel()
	for name, successor := range map[string]string{"reclaimed": "other", "taken up": "same"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, stream := shared(t)
			ids := publish(t, rdb, stream, 1, 100)
			cfg := config(stream)
			cfg.Lease, cfg.Consumer = time.Second, "same"
			abandon(t, rdb, cfg, 60)
			require.NoError(t, rdb.XTrimMinID(t.Context(), stream, ids[50]).Err())
			cfg.Consumer = successor
			var seen tally
			c, _ := start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
				seen.add(m)
				return nil
			})
			seen.has(t, 51, 100)
			drained(t, rdb, stream)
			require.EqualValues(t, 50, c.Stats().Lost)
		})
	}
}

// What is trimmed while a handler has it can't be delivered again, but its dead letter can be kept.
func TestSource_SettlesWhatWasTrimmed(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 4)
	cfg := config(stream)
	cfg.Lease = time.Second
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	raws, err := src.Receive(t.Context(), consumer.Credit{Count: 4, Bytes: 100})
	require.NoError(t, err)
	require.NoError(t, rdb.XTrimMaxLen(t.Context(), stream, 0).Err())
	<-time.After(cfg.Lease / 6)
	lost, err := src.Extend(t.Context())
	require.NoError(t, err)
	require.Empty(t, lost)
	require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{
		{Raw: &raws[0], Kind: consumer.Ack},
		{Raw: &raws[1], Kind: consumer.Retry, Err: errBad},
		{Raw: &raws[2], Kind: consumer.Release},
		{Raw: &raws[3], Kind: consumer.Dead, Err: errBad},
	}))
	require.EqualValues(t, 2, src.Lost())
	letters, err := rdb.XLen(t.Context(), stream+":dead").Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, letters)
	require.Zero(t, pending(t, rdb, stream))
	require.NoError(t, src.Close(t.Context()))
}

// Behind many entries that others hold there are a few to be reclaimed.
func TestSource_SearchesAllThatIsPending(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	ids := publish(t, rdb, stream, 1, 120)
	cfg := config(stream)
	cfg.Lease = time.Hour
	abandon(t, rdb, cfg, 120)
	require.NoError(t, rdb.Do(t.Context(), "XCLAIM", stream, "group", "dead", "0", ids[60], ids[110], ids[111], ids[119],
		"IDLE", time.Hour.Milliseconds(), "JUSTID").Err())
	cfg.Batch = 2 // Redis looks at ten times as many
	var seen tally
	start(t, rdb, cfg, consumer.Config{}, func(_ context.Context, m *message) error {
		seen.add(m)
		return nil
	})
	require.Eventually(t, func() bool { return seen.len() == 4 }, patience, 5*time.Millisecond)
	require.Equal(t, 4, seen.total())
	require.Equal(t, 1, seen.count("120"))
}

// Leases that could not be renewed are no reason to handle the same message twice at once.
func TestSource_DoesNotReclaimFromItself(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 4)
	cfg := config(stream)
	cfg.Lease, cfg.Block = time.Second, 10*time.Millisecond
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	raws, err := src.Receive(t.Context(), consumer.Credit{Count: 4, Bytes: 100})
	require.NoError(t, err)
	require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &raws[3], Kind: consumer.Release, After: time.Second}}))
	var again []consumer.Raw
	for begun := time.Now(); len(again) == 0 && time.Since(begun) < patience; {
		again, err = src.Receive(t.Context(), consumer.Credit{Count: 4, Bytes: 100})
		require.NoError(t, err)
	}
	require.Len(t, again, 1)
	require.Equal(t, raws[3].ID, again[0].ID)
	require.NoError(t, src.Close(t.Context()))
}

func TestSource_OutageOfTheHandlersOtherSide(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	var down atomic.Bool
	down.Store(true)
	var tries atomic.Int64
	var seen tally
	cfg := consumer.Config{MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, MaxAttempts: 1}
	c, _ := start(t, rdb, config(stream), cfg, func(_ context.Context, m *message) error {
		if down.Load() {
			tries.Add(1)
			return io.EOF
		}
		seen.add(m)
		if m.Attempt != 1 {
			t.Errorf("attempt %d was counted", m.Attempt)
		}
		return nil
	})
	publish(t, rdb, stream, 1, 500)
	require.Eventually(t, func() bool { return tries.Load() > 100 && c.Stats().Outage }, patience, time.Millisecond)
	down.Store(false)
	seen.has(t, 1, 500)
	drained(t, rdb, stream)
	require.Zero(t, c.Stats().Dead)
	require.False(t, c.Stats().Outage)
}

func TestSource_SurvivesARestartOfRedis(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	rdb := client(t, server.URL())
	var seen tally
	cfg := config("s")
	cfg.Lease = 2 * time.Second
	c, stop := start(t, rdb, cfg, consumer.Config{MaxInFlight: 50}, func(_ context.Context, m *message) error {
		seen.add(m)
		<-time.After(time.Millisecond)
		return nil
	})
	for cycle := range 3 {
		publish(t, rdb, "s", 300*cycle+1, 300*cycle+300)
		require.Eventually(t, func() bool { return seen.len() > 300*cycle+30 }, patience, time.Millisecond)
		if server.Kill(); cycle == 1 {
			<-time.After(300 * time.Millisecond)
		}
		server.Start()
	}
	seen.has(t, 1, 900)
	drained(t, rdb, "s")
	require.Zero(t, c.Stats().Dead)
	require.NoError(t, stop())
}

func TestSource_SurvivesABadNetwork(t *testing.T) {
	t.Parallel()
	direct, stream := shared(t)
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	opt, err := redis.ParseURL(testserver.RedisURL(t))
	require.NoError(t, err)
	opt.Addr, opt.ReadTimeout, opt.DialTimeout = proxy.Addr(), 100*time.Millisecond, 100*time.Millisecond
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	cfg := config(stream)
	cfg.Lease = time.Second
	var seen tally
	c, stop := start(t, rdb, cfg, consumer.Config{MaxInFlight: 20, MaxAttempts: 1}, func(_ context.Context, m *message) error {
		seen.add(m)
		if strings.HasSuffix(string(m.Value), "00") {
			return errBad
		}
		return nil
	})
	for round, fault := range []func(){proxy.DropReplies, proxy.Reset, proxy.BlackHole, proxy.Refuse} {
		first := 300*round + 1
		for part := range 3 {
			publish(t, direct, stream, first+100*part, first+100*part+99)
			if part == 1 {
				fault()
				<-time.After(200 * time.Millisecond)
			}
		}
		proxy.Pass()
		seen.has(t, 1, first+299)
	}
	drained(t, direct, stream)
	letters, err := direct.XLen(t.Context(), stream+":dead").Result()
	require.NoError(t, err)
	require.EqualValues(t, 12, letters, "a reply that was lost makes no second letter")
	require.EqualValues(t, 12, c.Stats().Dead)
	require.NoError(t, stop())
}

func TestSource_RemovesNamesOnlyWhenEmptyAndOld(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	publish(t, rdb, stream, 1, 3)
	cfg := config(stream)
	cfg.Consumer = "dead"
	abandon(t, rdb, cfg, 1)
	require.NoError(t, rdb.XGroupCreateConsumer(t.Context(), stream, "group", "young").Err())
	cfg.Consumer = "alive"
	abandon(t, rdb, cfg, 2)
	require.Equal(t, "alive dead young", groupNames(t, rdb, stream))
}
