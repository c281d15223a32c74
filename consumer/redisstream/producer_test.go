package redisstream_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
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

func producer(t *testing.T, rdb redis.UniversalClient, cfg redisstream.ProducerConfig) *redisstream.Producer {
	t.Helper()
	p, err := redisstream.NewProducer(rdb, cfg)
	require.NoError(t, err)
	return p
}

func TestProducer_SendsWhatASourceReads(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	large := bytes.Repeat([]byte{0, 'x'}, 1<<19)
	msgs := []redisstream.Outgoing{
		{Key: "k", ID: "first", Payload: []byte("1"), Headers: map[string]string{"kind": "test"}},
		{Payload: large},
		{},
	}
	ids, err := producer(t, rdb, redisstream.ProducerConfig{Stream: stream}).Send(t.Context(), msgs...)
	require.NoError(t, err)
	var mu sync.Mutex
	var got []*message
	start(t, rdb, config(stream), consumer.Config{Concurrency: 1, Key: redisstream.Key}, func(_ context.Context, m *message) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m)
		return nil
	})
	drainedOf(t, rdb, stream, 3)
	require.Len(t, got, 3)
	for i, m := range got {
		require.Equal(t, ids[i], m.ID)
		require.Equal(t, string(msgs[i].Payload), string(m.Value))
		require.Equal(t, msgs[i].Key, redisstream.Key(&m.Raw))
	}
	require.Equal(t, "test", got[0].Header("kind"))
	require.Equal(t, "first", redisstream.SenderID(&got[0].Raw))
	require.Equal(t, got[1].ID, redisstream.SenderID(&got[1].Raw))
}

// drainedOf waits until the group was given and has acked n entries.
func drainedOf(t *testing.T, rdb redis.UniversalClient, stream string, n int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		groups, err := rdb.XInfoGroups(t.Context(), stream).Result()
		return err == nil && len(groups) == 1 && groups[0].EntriesRead >= n && groups[0].Pending == 0
	}, patience, 5*time.Millisecond)
}

func TestProducer_KeepsTheOrderOfAKeyOnOnePartition(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: stream, Partitions: 5})
	var msgs []redisstream.Outgoing
	for i := range 2500 {
		m := redisstream.Outgoing{Payload: []byte(strconv.Itoa(i))}
		if i >= 500 {
			m.Key = "key " + strconv.Itoa(i%40)
		}
		msgs = append(msgs, m)
	}
	_, err := p.Send(t.Context(), msgs...)
	require.NoError(t, err)
	total := 0
	for i, part := range redisstream.Partitions(stream, 5) {
		require.Equal(t, fmt.Sprintf("%s:%d", stream, i), part)
		entries, err := rdb.XRange(t.Context(), part, "-", "+").Result()
		require.NoError(t, err)
		total += len(entries)
		newest, unkeyed := map[string]int{}, 0
		for _, e := range entries {
			key, _ := e.Values["key"].(string)
			n, err := strconv.Atoi(e.Values["payload"].(string))
			require.NoError(t, err)
			if key == "" {
				unkeyed++
				continue
			}
			require.Equal(t, i, redisstream.PartitionOf(key, 5))
			require.Greater(t, n, newest[key])
			newest[key] = n
		}
		require.Equal(t, 100, unkeyed, "without a key each partition gets its share")
	}
	require.Equal(t, 2500, total)
	// Fixed for ever: another hash would send a key to two partitions.
	require.Equal(t, []int{5, 4, 14}, []int{redisstream.PartitionOf("", 16), redisstream.PartitionOf("a", 8), redisstream.PartitionOf("order-17", 16)})
}

// A reply that is lost makes no second entry, and the caller is told which messages are in doubt.
func TestProducer_NeverSendsTwice(t *testing.T) {
	t.Parallel()
	clients := map[string]func(addr string) redis.UniversalClient{
		"client": func(addr string) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: 5})
		},
		"cluster": func(addr string) redis.UniversalClient { // which repeats more
			slots := []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: addr}}}}
			return redis.NewClusterClient(&redis.ClusterOptions{
				MaxRedirects: 5, ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
			})
		},
	}
	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, stream := shared(t)
			proxy := testserver.StartProxy(t, direct.Options().Addr)
			rdb := connect(proxy.Addr())
			t.Cleanup(func() { require.NoError(t, rdb.Close()) })
			p := producer(t, rdb, redisstream.ProducerConfig{Stream: stream})
			ids, err := p.Send(t.Context(), redisstream.Outgoing{Payload: []byte("1")})
			require.NoError(t, err)
			require.Len(t, ids, 1)
			proxy.DropReplies()
			lost := slices.Repeat([]redisstream.Outgoing{{Payload: []byte("2")}}, 1500)
			var sending sync.WaitGroup
			sending.Go(func() { ids, err = p.Send(t.Context(), lost...) })
			require.Eventually(t, func() bool { return direct.XLen(t.Context(), stream).Val() == 1001 }, patience, time.Millisecond)
			<-time.After(200 * time.Millisecond) // for the reply to get lost
			proxy.Pass()                         // resets the connection: a new one works
			sending.Wait()
			require.Error(t, err)
			require.Equal(t, make([]string, 1500), ids)
			require.EqualValues(t, 1001, direct.XLen(t.Context(), stream).Val(), "the first thousand once, the rest not at all")
			_, err = p.Send(t.Context(), redisstream.Outgoing{Payload: []byte("3")})
			require.NoError(t, err)
		})
	}
}

func TestProducer_TrimsOnlyWhenTold(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	msgs := slices.Repeat([]redisstream.Outgoing{{Payload: []byte("x")}}, 1000)
	_, err := producer(t, rdb, redisstream.ProducerConfig{Stream: stream}).Send(t.Context(), msgs...)
	require.NoError(t, err)
	require.EqualValues(t, 1000, rdb.XLen(t.Context(), stream).Val())
	_, err = producer(t, rdb, redisstream.ProducerConfig{Stream: stream, MaxLen: 100}).Send(t.Context(), msgs...)
	require.NoError(t, err)
	require.InDelta(t, 150, rdb.XLen(t.Context(), stream).Val(), 50)
}

func TestProducer_RefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	_, err := redisstream.NewProducer(nil, redisstream.ProducerConfig{Partitions: -1, MaxLen: -1, Field: "key"})
	for _, want := range []string{"client is nil", `Stream is ""`, "Partitions is -1", "MaxLen is -1", `Field is "key"`} {
		require.ErrorContains(t, err, want)
	}
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: stream})
	for _, name := range []string{"", "payload", "key", "id", "upbeat_reason"} {
		ids, err := p.Send(t.Context(), redisstream.Outgoing{}, redisstream.Outgoing{Headers: map[string]string{name: "x"}})
		require.ErrorContains(t, err, fmt.Sprintf("message 1: header %q", name))
		require.Equal(t, []string{"", ""}, ids)
	}
	require.Zero(t, rdb.XLen(t.Context(), stream).Val(), "all or nothing")
}
