package redisstream_test

import (
	"context"
	"fmt"
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

func exclusive(stream string, partitions int) redisstream.Config {
	cfg := config(stream)
	cfg.Streams, cfg.Exclusive, cfg.Lease = redisstream.Partitions(stream, partitions), true, 2*time.Second
	return cfg
}

// owners counts the partitions of each consumer.
func owners(t *testing.T, rdb redis.UniversalClient, cfg redisstream.Config) map[string]int {
	t.Helper()
	by := map[string]int{}
	for _, s := range cfg.Streams {
		if owner := rdb.Get(t.Context(), s+":owner:group").Val(); owner != "" {
			by[owner]++
		}
	}
	return by
}

func TestExclusive_SharesEvenly(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := exclusive(stream, 8)
	join := func(name string) (leave func() error) {
		t.Helper()
		cfg.Consumer = name
		_, leave = start(t, rdb, cfg, consumer.Config{}, func(context.Context, *message) error { return nil })
		return leave
	}
	is := func(want map[string]int) {
		t.Helper()
		require.Eventually(t, func() bool { return fmt.Sprint(owners(t, rdb, cfg)) == fmt.Sprint(want) }, patience, 5*time.Millisecond,
			"%v", want)
	}
	leaveA := join("a")
	is(map[string]int{"a": 8})
	leaveB := join("b")
	is(map[string]int{"a": 4, "b": 4})
	join("c")
	is(map[string]int{"a": 3, "b": 3, "c": 2})
	require.NoError(t, leaveA())
	is(map[string]int{"b": 4, "c": 4})
	require.NoError(t, leaveB())
	is(map[string]int{"c": 8})
}

// sequences sends so many numbers of each key, 0, 1, 2 and so on, from first to last.
func sequences(t *testing.T, p *redisstream.Producer, keys, first, last int) {
	t.Helper()
	var msgs []redisstream.Outgoing
	for n := first; n <= last; n++ {
		for k := range keys {
			msgs = append(msgs, redisstream.Outgoing{Key: strconv.Itoa(k), Payload: []byte(strconv.Itoa(n))})
		}
	}
	_, err := p.Send(t.Context(), msgs...)
	require.NoError(t, err)
}

// order watches over the numbers of each key: none may be handled before the one before it was, or while another one is.
type order struct {
	mu     sync.Mutex
	newest map[string]int
	active map[string]bool
	wrong  []string
	total  int
}

func (o *order) handle(_ context.Context, m *message) error {
	key := redisstream.Key(&m.Raw)
	n, _ := strconv.Atoi(string(m.Value))
	o.mu.Lock()
	if o.newest == nil {
		o.newest, o.active = map[string]int{}, map[string]bool{}
	}
	if next := o.newest[key]; n > next || o.active[key] {
		o.wrong = append(o.wrong, fmt.Sprintf("key %s: %d came when %d was to come, active: %t", key, n, next, o.active[key]))
	} else if n == next {
		o.newest[key]++
	}
	o.active[key] = true
	o.total++
	o.mu.Unlock()
	<-time.After(100 * time.Microsecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active[key] = false
	return nil
}

// reached tells whether each of so many keys has got to n, in order.
func (o *order) reached(t *testing.T, keys, n int) bool {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Empty(t, o.wrong)
	for k := range keys {
		if o.newest[strconv.Itoa(k)] < n {
			return false
		}
	}
	return true
}

func TestExclusive_KeepsTheOrderWhileConsumersJoinAndLeave(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := exclusive(stream, 6)
	p := producer(t, rdb, redisstream.ProducerConfig{Stream: stream, Partitions: 6})
	const keys, step = 30, 40
	var seen order
	join := func() func() error {
		_, leave := start(t, rdb, cfg, consumer.Config{Key: redisstream.Key, MaxInFlight: 60}, seen.handle)
		return leave
	}
	_ = join() // one stays, or nobody would be there at times
	var leave [4]func() error
	rounds := testserver.Times(6, 60)
	for round := range rounds {
		sequences(t, p, keys, round*step, round*step+step-1)
		who := round % len(leave)
		if leave[who] != nil {
			require.NoError(t, leave[who]())
			leave[who] = nil
		} else {
			leave[who] = join()
		}
		require.Eventually(t, func() bool { return seen.reached(t, keys, round*step+step/2) }, patience, time.Millisecond)
	}
	require.Eventually(t, func() bool { return seen.reached(t, keys, rounds*step) }, patience, 5*time.Millisecond)
	require.Equal(t, rounds*step*keys, seen.total, "nobody died: each was handled once")
	for _, s := range cfg.Streams {
		drained(t, rdb, s)
	}
}

// A stream that somebody else took is read no more, its handlers are told, and what they did changes nothing any more.
func TestExclusive_IsFenced(t *testing.T) {
	t.Parallel()
	rdb, stream := shared(t)
	cfg := exclusive(stream, 1)
	cfg.Consumer, cfg.Block = "me", 20*time.Millisecond
	part := cfg.Streams[0]
	publish(t, rdb, part, 1, 3)
	src, err := redisstream.New(rdb, cfg)
	require.NoError(t, err)
	receive := func() []consumer.Raw {
		raws, err := src.Receive(t.Context(), consumer.Credit{Count: 3, Bytes: 1000})
		require.NoError(t, err)
		return raws
	}
	var raws []consumer.Raw
	require.Eventually(t, func() bool { raws = receive(); return len(raws) == 3 }, patience, time.Millisecond)
	lost, err := src.Extend(t.Context())
	require.NoError(t, err)
	require.Empty(t, lost)

	require.NoError(t, rdb.Set(t.Context(), part+":owner:group", "thief", time.Minute).Err())
	publish(t, rdb, part, 4, 4)
	require.Empty(t, receive())
	require.Eventually(t, func() bool {
		lost, err = src.Extend(t.Context())
		require.NoError(t, err)
		return len(lost) > 0
	}, patience, time.Millisecond)
	require.Len(t, lost, 3)
	require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &raws[0]}, {Raw: &raws[1]}}))
	require.EqualValues(t, 3, pending(t, rdb, part), "an ack of one who lost the stream")

	// Even when the stream is free again, it waits for all that the consumer still has.
	require.NoError(t, rdb.Del(t.Context(), part+":owner:group").Err())
	for begun := time.Now(); time.Since(begun) < cfg.Lease/4; {
		require.Empty(t, receive())
	}
	require.NoError(t, src.Settle(t.Context(), []consumer.Outcome{{Raw: &raws[2], Kind: consumer.Release, After: time.Hour}}))
	var again []consumer.Raw
	require.Eventually(t, func() bool {
		again = append(again, receive()...)
		return len(again) == 4
	}, patience, time.Millisecond)
	require.Equal(t, raws[0].ID, again[0].ID, "in their order")
	require.NoError(t, src.Close(t.Context()))
	require.Zero(t, rdb.Exists(t.Context(), part+":owner:group", part+":members:group").Val(), "it took its leave")
}

// Who can't reach Redis for a lease isn't the owner any more, and stops its handlers before another one starts.
func TestExclusive_CancelsWhatItCanNotRenew(t *testing.T) {
	t.Parallel()
	direct, stream := shared(t)
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 100 * time.Millisecond, DialTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	cfg := exclusive(stream, 2)
	p := producer(t, direct, redisstream.ProducerConfig{Stream: stream, Partitions: 2})
	sequences(t, p, 1, 0, 9)
	started, cancelled, next := make(chan struct{}, 1), make(chan time.Time, 1), make(chan time.Time, 1)
	start(t, rdb, cfg, consumer.Config{Key: redisstream.Key}, func(ctx context.Context, _ *message) error {
		started <- struct{}{}
		<-ctx.Done()
		if context.Cause(ctx) == consumer.ErrLeaseLost { //nolint:errorlint // as it is
			cancelled <- time.Now()
		}
		return ctx.Err()
	})
	<-started
	var seen order
	start(t, direct, cfg, consumer.Config{Key: redisstream.Key}, func(ctx context.Context, m *message) error {
		select {
		case next <- time.Now():
		default:
		}
		return seen.handle(ctx, m)
	})
	proxy.BlackHole()
	sequences(t, p, 1, 10, 19) // which are to come after those that the first one holds
	require.Less(t, (<-cancelled).UnixNano(), (<-next).UnixNano())
	require.Eventually(t, func() bool { return seen.reached(t, 1, 20) }, patience, 5*time.Millisecond)
	proxy.Pass()
}

func TestShare_AddsUp(t *testing.T) {
	t.Parallel()
	members := []string{"a", "b", "c", "d", "e"}
	for n := 1; n <= len(members); n++ {
		for streams := range 20 {
			total := 0
			for _, m := range members[:n] {
				share := redisstream.Share(streams, members[:n], m)
				require.InDelta(t, float64(streams)/float64(n), share, 0.99)
				total += share
			}
			require.Equal(t, streams, total)
		}
	}
	require.Zero(t, redisstream.Share(8, members, "stranger"))
	require.Zero(t, redisstream.Share(8, nil, "a"))
}
