package redisstream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

// What can't be decoded is a dead letter at once, and holds up nothing; when nothing can be decoded the consumer slows down, and loses nothing.
func TestSource_Malformed(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]int{"one in a hundred": 100, "all": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, stream := shared(t)
			const n = 1000
			var msgs []redisstream.Outgoing
			for i := range n {
				payload := fmt.Sprintf(`{"n":%d}`, i)
				if i%every == 0 {
					payload = "{" + payload
				}
				msgs = append(msgs, redisstream.Outgoing{Payload: []byte(payload)})
			}
			_, err := producer(t, rdb, redisstream.ProducerConfig{Stream: stream}).Send(t.Context(), msgs...)
			require.NoError(t, err)
			src, err := redisstream.New(rdb, config(stream))
			require.NoError(t, err)
			var mu sync.Mutex
			seen := map[int]int{}
			c, err := consumer.NewBatch(src, func(_ context.Context, batch []*consumer.Message[struct{ N int }]) error {
				mu.Lock()
				defer mu.Unlock()
				for _, m := range batch {
					seen[m.Value.N]++
				}
				return nil
			}, consumer.Config{Logger: quiet, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var running sync.WaitGroup
			running.Go(func() { _ = c.Run(ctx) })
			bad := int64(n / every)
			require.Eventually(t, func() bool { return rdb.XLen(t.Context(), stream+":dead").Val() == bad }, patience, 5*time.Millisecond)
			drainedOf(t, rdb, stream, n)
			cancel()
			running.Wait()
			require.Len(t, seen, n-int(bad))
			for i, times := range seen {
				require.Equal(t, 1, times, i)
			}
			require.EqualValues(t, bad, c.Stats().Dead)
		})
	}
}

// A second consumer of a source that has ended is told so: it would wait for ever.
func TestSource_IsForOneConsumer(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{false, true} {
		rdb, stream := shared(t)
		cfg := config(stream)
		cfg.Exclusive = exclusive
		src, err := redisstream.New(rdb, cfg)
		require.NoError(t, err)
		c, err := consumer.New(src, func(context.Context, *message) error { return nil }, consumer.Config{Logger: quiet})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, c.Run(ctx))
		ctx, cancel = context.WithTimeout(t.Context(), patience)
		_, err = src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
		require.ErrorContains(t, err, "closed by the consumer that had it")
		cancel()
	}
}
