//go:build unix

package bench_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// beat is what the benchmarks below decode: a heartbeat of some 250 bytes.
type beat struct {
	Service  string    `json:"service_name"`
	Instance string    `json:"instance_id"`
	At       time.Time `json:"timestamp"`
	Uptime   float64   `json:"uptime_seconds"`
	Count    int64     `json:"heartbeat_count"`
	Memory   float64   `json:"memory_usage_mb"`
	CPU      float64   `json:"cpu_usage_percent"`
	Queue    int       `json:"queue_size"`
	Status   string    `json:"api_status"`
}

// beatsOf makes a stream of so many beats, of 1,000 instances of 20 services.
func beatsOf(b *testing.B, n int) (rdb *redis.Client, stream string) {
	b.Helper()
	rdb = streamClient(b)
	stream = fmt.Sprintf("bench:%s:%d", b.Name(), time.Now().UnixNano())
	p, err := redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: stream})
	require.NoError(b, err)
	msgs := make([]redisstream.Outgoing, 0, 1000)
	for i := range n {
		msgs = append(msgs, redisstream.Outgoing{Payload: beatPayload(b, i)})
		if len(msgs) == cap(msgs) || i == n-1 {
			_, err = p.Send(b.Context(), msgs...)
			require.NoError(b, err)
			msgs = msgs[:0]
		}
	}
	b.Cleanup(func() { require.NoError(b, rdb.Del(context.Background(), stream).Err()) })
	return rdb, stream
}

func beatPayload(b *testing.B, i int) []byte {
	b.Helper()
	payload, err := json.Marshal(beat{
		Service: fmt.Sprintf("service-%d", i%20), Instance: fmt.Sprintf("5f2b1c9e-0000-4000-8000-%012d", i%1000), At: time.Now(), Uptime: 12345.5,
		Count: int64(i / 1000), Memory: 123.5, CPU: 3.25, Queue: 17, Status: "healthy",
	})
	require.NoError(b, err)
	return payload
}

// BenchmarkDurable takes beats off a stream, decodes them, and acks what is committed to Postgres: log and newest status of each instance.
func BenchmarkDurable(b *testing.B) {
	b.Run("upbeat", func(b *testing.B) {
		url := durablePostgres(b)
		db := openStore(b, url)
		rdb, stream := beatsOf(b, b.N)
		run := durable(b, rdb, stream, db, b.N)
		before := startClock(b)
		run()
		settled(b, rdb, stream, before)
		var rows int
		require.NoError(b, connect(b, url).QueryRow(b.Context(), "select count(*) from health_messages where channel = $1", stream).Scan(&rows))
		require.Equal(b, b.N, rows)
	})
	b.Run("by-hand", byHand)
	b.Run("one-by-one", oneByOne)
}

func openStore(b *testing.B, url string) *postgres.DB {
	b.Helper()
	db, err := postgres.Open(b.Context(), url, postgres.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.Cleanup(db.Close)
	require.NoError(b, db.Migrate(b.Context()))
	return db
}

func connect(b *testing.B, url string) *pgxpool.Pool {
	b.Helper()
	pool, err := pgxpool.New(b.Context(), url)
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	return pool
}

// durable returns what consumes n messages.
func durable(b *testing.B, rdb *redis.Client, stream string, db *postgres.DB, n int) (run func()) {
	b.Helper()
	quiet := slog.New(slog.DiscardHandler)
	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{stream}, Group: "bench", Logger: quiet})
	require.NoError(b, err)
	seen := newCounter(n)
	c, err := consumer.NewBatch(src, func(ctx context.Context, batch []*consumer.Message[beat]) error {
		rows := make([]store.Message, len(batch))
		for i, m := range batch {
			rows[i] = store.Message{
				ID: m.ID, At: m.At, Channel: stream, Payload: m.Payload,
				Service: m.Value.Service, Instance: m.Value.Instance, Count: m.Value.Count, Status: m.Value.Status,
			}
		}
		if _, err := db.Record(ctx, rows); err != nil {
			return err
		}
		seen.add(len(batch))
		return nil
	}, consumer.Config{Concurrency: 12, Logger: quiet}) // so that some decode while the store waits for the disk
	require.NoError(b, err)
	return func() {
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		<-seen.done
		cancel()
		require.NoError(b, <-ended)
	}
}

const byHandSchema = `
create table if not exists hand_log (
	message_id text not null, occurred_at timestamptz not null, received_at timestamptz not null default now(), service_name text not null,
	instance_id text not null, heartbeat_count bigint not null, status text not null, payload jsonb not null, primary key (message_id, occurred_at)
) partition by range (occurred_at);
create index if not exists hand_log_service on hand_log (service_name, occurred_at);
create table if not exists hand_status (
	service_name text not null, instance_id text not null, current_status text not null, last_seen timestamptz not null,
	heartbeat_count bigint not null, primary key (service_name, instance_id)
)`

func handTables(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	_, err := pool.Exec(b.Context(), byHandSchema)
	require.NoError(b, err)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for _, day := range []time.Time{today, today.AddDate(0, 0, 1)} {
		_, err = pool.Exec(b.Context(), fmt.Sprintf("create table if not exists hand_log_%s partition of hand_log for values from ('%s') to ('%s')",
			day.Format("20060102"), day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)))
		require.NoError(b, err)
	}
}

// byHand is the loop that a good team writes: four at a time, batches of 4,000, one transaction for each with the log and the newest
// status of each instance, and an XACK.
func byHand(b *testing.B) {
	rdb, stream := beatsOf(b, b.N)
	pool := connect(b, durablePostgres(b))
	handTables(b, pool)
	require.NoError(b, rdb.XGroupCreate(b.Context(), stream, "bench", "0").Err())
	before := startClock(b)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for {
				read, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{
					Group: "bench", Consumer: fmt.Sprint(worker), Streams: []string{stream, ">"}, Count: 4000, Block: -1,
				}).Result()
				if err != nil {
					require.ErrorIs(b, err, redis.Nil)
					return
				}
				ids, err := storeByHand(b.Context(), pool, read[0].Messages)
				require.NoError(b, err)
				require.NoError(b, rdb.XAck(b.Context(), stream, "bench", ids...).Err())
			}
		})
	}
	wg.Wait()
	settled(b, rdb, stream, before)
}

func storeByHand(ctx context.Context, pool *pgxpool.Pool, msgs []redis.XMessage) (ids []string, err error) {
	var (
		at                                    []time.Time
		services, instances, statuses, bodies []string
		counts                                []int64
	)
	newest := map[string]int{}
	for i, m := range msgs {
		payload, _ := m.Values["payload"].(string)
		var v beat
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			return nil, err
		}
		var ms int64
		if _, err := fmt.Sscanf(m.ID, "%d-", &ms); err != nil {
			return nil, err
		}
		ids, at = append(ids, m.ID), append(at, time.UnixMilli(ms))
		services, instances, statuses = append(services, v.Service), append(instances, v.Instance), append(statuses, v.Status)
		counts, bodies = append(counts, v.Count), append(bodies, payload)
		if j, found := newest[v.Service+"/"+v.Instance]; !found || counts[j] <= v.Count {
			newest[v.Service+"/"+v.Instance] = i
		}
	}
	rows := make([]int, 0, len(newest))
	for _, i := range newest {
		rows = append(rows, i)
	}
	slices.SortFunc(rows, func(i, j int) int {
		return cmp.Or(cmp.Compare(services[i], services[j]), cmp.Compare(instances[i], instances[j]))
	})
	pick := func(of []string) (some []string) {
		for _, i := range rows {
			some = append(some, of[i])
		}
		return some
	}
	var seen []time.Time
	var last []int64
	for _, i := range rows {
		seen, last = append(seen, at[i]), append(last, counts[i])
	}
	return ids, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into hand_log (message_id, occurred_at, service_name, instance_id, heartbeat_count, status, payload)
			select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::jsonb[]) on conflict do nothing`,
			ids, at, services, instances, counts, statuses, bodies)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `insert into hand_status select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
			on conflict (service_name, instance_id) do update set current_status = excluded.current_status, last_seen = excluded.last_seen,
			heartbeat_count = excluded.heartbeat_count where hand_status.heartbeat_count < excluded.heartbeat_count`,
			pick(services), pick(instances), pick(statuses), seen, last)
		return err
	})
}

// oneByOne commits and acks each message on its own, eight at a time.
func oneByOne(b *testing.B) {
	rdb, stream := beatsOf(b, b.N)
	pool := connect(b, durablePostgres(b))
	handTables(b, pool)
	require.NoError(b, rdb.XGroupCreate(b.Context(), stream, "bench", "0").Err())
	before := startClock(b)
	work := make(chan redis.XMessage, 100)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for m := range work {
				ids, err := storeByHand(b.Context(), pool, []redis.XMessage{m})
				require.NoError(b, err)
				require.NoError(b, rdb.XAck(b.Context(), stream, "bench", ids...).Err())
			}
		})
	}
	for left := b.N; left > 0; {
		read, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{
			Group: "bench", Consumer: "one", Streams: []string{stream, ">"}, Count: 100, Block: -1,
		}).Result()
		require.NoError(b, err)
		for _, m := range read[0].Messages {
			work <- m
		}
		left -= len(read[0].Messages)
	}
	close(work)
	wg.Wait()
	settled(b, rdb, stream, before)
}
