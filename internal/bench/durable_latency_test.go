//go:build unix

package bench_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/store"
)

// quietRate is how many messages come per second in a quiet hour: a tenth of a load that both sides of BenchmarkDurableLatency can take.
const quietRate = 2000

// latencies are the times from before a message is published until it is committed.
type latencies struct {
	sent      []time.Time
	committed []time.Duration
	counter
}

// publishSteadily publishes b.N beats at quietRate, each with its number.
func publishSteadily(b *testing.B, rdb *redis.Client, stream string, l *latencies) {
	b.Helper()
	payload := beatPayload(b, 1)
	tick := time.NewTicker(time.Second / quietRate)
	defer tick.Stop()
	for i := range b.N {
		<-tick.C
		l.sent[i] = time.Now()
		require.NoError(b, rdb.XAdd(b.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"payload", payload, "n", i}}).Err())
	}
}

func (l *latencies) commit(n string) {
	i, err := strconv.Atoi(n)
	if err != nil {
		panic(err)
	}
	l.committed[i] = time.Since(l.sent[i])
	l.add(1)
}

func (l *latencies) report(b *testing.B) {
	b.Helper()
	b.StopTimer()
	all := slices.Sorted(slices.Values(l.committed))
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDurableLatency publishes at a steady rate, and tells how long it takes until a message is committed to Postgres: batching must not cost the
// quiet hours. by-hand commits each message at once. Run it with -benchtime 20000x for ten seconds.
func BenchmarkDurableLatency(b *testing.B) {
	begin := func(b *testing.B) (*redis.Client, string, *latencies) {
		b.Helper()
		stream := "bench:" + b.Name() + ":" + strconv.FormatInt(time.Now().UnixNano(), 10)
		l := &latencies{sent: make([]time.Time, b.N), committed: make([]time.Duration, b.N)}
		l.done = make(chan struct{})
		l.left.Store(int64(b.N))
		rdb := streamClient(b)
		b.Cleanup(func() { require.NoError(b, rdb.Del(context.Background(), stream).Err()) })
		require.NoError(b, rdb.XGroupCreateMkStream(b.Context(), stream, "bench", "0").Err())
		return rdb, stream, l
	}
	b.Run("upbeat", func(b *testing.B) {
		rdb, stream, l := begin(b)
		db := openStore(b, durablePostgres(b))
		quiet := slog.New(slog.DiscardHandler)
		src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{stream}, Group: "bench", Logger: quiet})
		require.NoError(b, err)
		c, err := consumer.NewBatch(src, func(ctx context.Context, batch []*consumer.Message[beat]) error {
			rows := make([]store.Message, len(batch))
			for i, m := range batch {
				rows[i] = store.Message{
					ID: m.ID, At: m.At, Payload: m.Payload, Service: m.Value.Service, Instance: m.Value.Instance, Count: m.Value.Count, Status: m.Value.Status,
				}
			}
			if _, err := db.Record(ctx, rows); err != nil {
				return err
			}
			for _, m := range batch {
				l.commit(m.Header("n"))
			}
			return nil
		}, consumer.Config{Logger: quiet})
		require.NoError(b, err)
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		b.ResetTimer()
		publishSteadily(b, rdb, stream, l)
		<-l.done
		l.report(b)
		cancel()
		require.NoError(b, <-ended)
	})
	b.Run("by-hand", func(b *testing.B) {
		rdb, stream, l := begin(b)
		pool := connect(b, durablePostgres(b))
		handTables(b, pool)
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		b.ResetTimer()
		for worker := range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					read, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
						Group: "bench", Consumer: strconv.Itoa(worker), Streams: []string{stream, ">"}, Count: 1, Block: 100 * time.Millisecond,
					}).Result()
					if err != nil {
						if !errors.Is(err, redis.Nil) && ctx.Err() == nil {
							b.Error(err)
						}
						continue
					}
					for _, m := range read[0].Messages {
						ids, err := storeByHand(b.Context(), pool, []redis.XMessage{m})
						require.NoError(b, err)
						require.NoError(b, rdb.XAck(b.Context(), stream, "bench", ids...).Err())
						n, _ := m.Values["n"].(string)
						l.commit(n)
					}
				}
			})
		}
		publishSteadily(b, rdb, stream, l)
		<-l.done
		l.report(b)
		cancel()
		wg.Wait()
	})
}
