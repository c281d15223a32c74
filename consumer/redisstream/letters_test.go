package redisstream_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// deadLetters makes dead letters of the payloads from 1 to n.
func deadLetters(t *testing.T, rdb redis.UniversalClient, stream string, n int) *redisstream.DeadLetters {
	t.Helper()
	publish(t, rdb, stream, 1, n)
	c, stop := start(t, rdb, config(stream), consumer.Config{MaxAttempts: 1, MaxDeadShare: 1}, func(_ context.Context, m *message) error {
		if string(m.Value) == "1" {
			panic("one")
		}
		return errBad
	})
	require.Eventually(t, func() bool { return c.Stats().Dead == uint64(n) && c.Stats().InFlight == 0 }, patience, 5*time.Millisecond)
	require.NoError(t, stop())
	box, err := redisstream.NewDeadLetters(rdb, stream)
	require.NoError(t, err)
	return box
}

// A handler may change its payload; whether the entry is still in the stream or not, what died is what was delivered.
func TestDeadLetters_KeepTheEntryAndNotWhatTheHandlerMadeOfIt(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	trimmed, err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", "gone", "kind", "a", "upbeat_reason", "of an earlier death"}}).Result()
	require.NoError(t, err)
	publish(t, rdb, stream, 1234, 1234)
	c, stop := start(t, rdb, config(stream), consumer.Config{MaxDeadShare: 1}, func(ctx context.Context, m *message) error {
		if string(m.Payload) == "gone" {
			require.NoError(t, rdb.XDel(ctx, stream, trimmed).Err())
		} else {
			clear(m.Payload)
		}
		return consumer.Permanent(errBad)
	})
	require.Eventually(t, func() bool { return c.Stats().Dead == 2 && c.Stats().InFlight == 0 }, patience, 5*time.Millisecond)
	require.NoError(t, stop())
	box, err := redisstream.NewDeadLetters(rdb, stream)
	require.NoError(t, err)
	kept := map[string]string{}
	for _, l := range list(t, box) {
		kept[l.Fields["payload"]] = l.Fields["kind"]
		require.Equal(t, errBad.Error(), l.Reason)
	}
	require.Equal(t, map[string]string{"gone": "a", "1234": "test"}, kept)
}

func list(t *testing.T, box *redisstream.DeadLetters) (letters []redisstream.DeadLetter) {
	t.Helper()
	for l, err := range box.All(t.Context()) {
		require.NoError(t, err)
		letters = append(letters, l)
	}
	return letters
}

func TestDeadLetters_TellWhatHappened(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	begun := time.Now().Truncate(time.Millisecond)
	box := deadLetters(t, rdb, stream, 250)
	letters := list(t, box)
	require.Len(t, letters, 250)
	seen := map[string]bool{}
	for _, l := range letters {
		seen[l.Fields["payload"]] = true
		require.Equal(t, "test", l.Fields["kind"])
		require.Len(t, l.Fields, 2)
		require.Equal(t, "group", l.Group)
		require.Equal(t, 1, l.Attempts)
		require.Contains(t, l.MessageID, stream+"/")
		require.False(t, l.At.Before(begun))
		if l.Fields["payload"] == "1" {
			require.Equal(t, "panic: one", l.Reason)
			require.Contains(t, l.Stack, "deadLetters")
		} else {
			require.Equal(t, errBad.Error(), l.Reason)
			require.Empty(t, l.Stack)
		}
	}
	require.Len(t, seen, 250)
	one, found, err := box.Get(t.Context(), letters[7].ID)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, letters[7], one)

	deleted, err := box.Delete(t.Context(), letters[7].ID, "1-1")
	require.NoError(t, err)
	require.EqualValues(t, 1, deleted)
	_, found, err = box.Get(t.Context(), letters[7].ID)
	require.NoError(t, err)
	require.False(t, found)
	n, err := box.Count(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 249, n)
	for _, err := range box.All(t.Context()) {
		require.NoError(t, err)
		break // which must not go on
	}
}

func TestDeadLetters_ReplayEachOnce(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	box := deadLetters(t, rdb, stream, 250)
	letters := list(t, box)
	replayed, err := box.Replay(t.Context(), letters[0].ID, letters[1].ID, letters[0].ID)
	require.NoError(t, err)
	require.EqualValues(t, 2, replayed)
	var people sync.WaitGroup
	for range 3 {
		people.Go(func() { _, _ = box.ReplayAll(t.Context()) })
	}
	people.Wait()
	require.Empty(t, list(t, box))
	var seen tally
	died := sync.Map{}
	start(t, rdb, config(stream), consumer.Config{}, func(_ context.Context, m *message) error {
		seen.add(m)
		died.Store(m.Header("upbeat_replayed"), m.Header("kind"))
		if m.Attempt != 1 || m.Header("upbeat_reason") != "" {
			t.Errorf("%s: it begins anew", m.ID)
		}
		return nil
	})
	seen.has(t, 1, 250)
	drained(t, rdb, stream)
	require.Equal(t, 250, seen.total())
	for _, l := range letters {
		kind, ok := died.Load(l.MessageID)
		require.True(t, ok)
		require.Equal(t, "test", kind)
	}
}

// Whoever replays may lose the reply, or the server, at any moment: no letter is lost and none comes twice.
func TestDeadLetters_ReplaySurvivesABadNetwork(t *testing.T) {
	t.Parallel()
	direct, stream := shared(t)
	deadLetters(t, direct, stream, 300)
	before := direct.XLen(t.Context(), stream).Val()
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	box, err := redisstream.NewDeadLetters(rdb, stream)
	require.NoError(t, err)
	letters := list(t, box)
	proxy.DropReplies()
	_, err = box.Replay(t.Context(), letters[0].ID, letters[1].ID)
	require.Error(t, err)
	proxy.Pass()
	_, err = box.ReplayAll(t.Context())
	require.NoError(t, err)
	require.Empty(t, list(t, box))
	require.EqualValues(t, before+300, direct.XLen(t.Context(), stream).Val())
}

func TestDeadLetters_OfACluster(t *testing.T) {
	t.Parallel()
	nodes := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes.Addrs()})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	for i, stream := range []string{"a", "{b}:c", "d"} {
		box := deadLetters(t, rdb, stream, 10+i)
		n, err := box.ReplayAll(t.Context())
		require.NoError(t, err, strconv.Itoa(i))
		require.EqualValues(t, 10+i, n)
	}
	_, err := redisstream.NewDeadLetters(rdb, "a}b")
	require.ErrorContains(t, err, "hash tag")
	_, err = redisstream.NewDeadLetters(nil, "")
	require.ErrorContains(t, err, "client is nil")
	require.ErrorContains(t, err, `stream is ""`)
}
