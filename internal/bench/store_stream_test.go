//go:build unix

package bench_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/store"
)

const (
	streamBatch   = 4000
	streamReaders = 4
)

// BenchmarkStream_Record takes a stream into a database: decode, store with the newest status, ack. The alternative is the loop that
// one would write by hand, four of it, with a log keyed by id and time.
func BenchmarkStream_Record(b *testing.B) {
	dsn := durablePostgres(b)
	b.Run("upbeat", func(b *testing.B) {
		db := storeDB(b, dsn, "upbeat"+strconv.Itoa(b.N))
		cfg := consumer.Config{Concurrency: streamReaders, BatchSize: streamBatch, MaxInFlight: 2 * streamReaders * streamBatch}
		drain(b, redisstream.Config{Batch: streamBatch}, cfg, func(seen *counter) func(context.Context, []*consumer.Message[streamed]) error {
			return func(ctx context.Context, batch []*consumer.Message[streamed]) error {
				rows := make([]store.Message, len(batch))
				for i, m := range batch {
					rows[i] = store.Message{
						ID: m.ID, At: m.At, Service: m.Value.Service, Instance: "host-" + strconv.Itoa(m.Value.ID%100),
						Count: int64(m.Value.Count), Status: "running", Payload: m.Payload, //nolint:gosec // it is small
					}
				}
				if _, err := db.Record(ctx, rows); err != nil {
					return err
				}
				seen.add(len(batch))
				return nil
			}
		})
	})
	b.Run("by_hand", func(b *testing.B) {
		schema := "hand" + strconv.Itoa(b.N)
		fillLog(b, dsn, schema, 0)
		byHand(b, dsn, schema)
	})
}

func byHand(b *testing.B, dsn, schema string) {
	b.Helper()
	rdb, stream := streamOf(b)
	require.NoError(b, rdb.XGroupCreate(b.Context(), stream, "bench", "0").Err())
	var conns []*pgx.Conn
	for range streamReaders {
		conn, err := pgx.Connect(b.Context(), dsn)
		require.NoError(b, err)
		defer conn.Close(b.Context())
		_, err = conn.Exec(b.Context(), "SELECT set_config('search_path', $1, false)", schema)
		require.NoError(b, err)
		conns = append(conns, conn)
	}
	before := startClock(b)
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			for {
				read, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{
					Group: "bench", Consumer: strconv.Itoa(i), Streams: []string{stream, ">"}, Count: streamBatch, Block: -1,
				}).Result()
				if err == redis.Nil { //nolint:errorlint // it is never wrapped
					return
				}
				if err == nil {
					err = storeByHand(b, rdb, stream, conn, read[0].Messages)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	settled(b, rdb, stream, before)
}

// storeByHand writes a batch and the newest status of each of its instances in one transaction, then acks it.
func storeByHand(b *testing.B, rdb *redis.Client, stream string, conn *pgx.Conn, batch []redis.XMessage) error {
	b.Helper()
	msgs := make([]store.Message, len(batch))
	ids := make([]string, len(batch))
	newest := map[string]store.Message{}
	for i, m := range batch {
		payload, _ := m.Values["payload"].(string)
		var v streamed
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			return err
		}
		ids[i] = m.ID
		msgs[i] = store.Message{
			ID: stream + "/" + m.ID, At: v.At, Service: v.Service, Instance: "host-" + strconv.Itoa(v.ID%100),
			Count: int64(v.Count), Status: "running", Payload: []byte(payload), //nolint:gosec // it is small
		}
		newest[msgs[i].Instance] = msgs[i]
	}
	err := pgx.BeginFunc(b.Context(), conn, func(tx pgx.Tx) error {
		if err := unnestByID(b, tx.Conn(), msgs); err != nil {
			return err
		}
		var service, instance, id []string
		var at []time.Time
		for _, m := range newest {
			instance = append(instance, m.Instance)
		}
		slices.Sort(instance)
		for _, name := range instance {
			service, id, at = append(service, newest[name].Service), append(id, newest[name].ID), append(at, newest[name].At)
		}
		_, err := tx.Exec(b.Context(), `INSERT INTO instance_status AS s (service_name, instance_id, current_status, last_seen, heartbeat_count, message_id)
			SELECT service, instance, 'running', at, 1, id FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[]) AS n (service, instance, at, id)
			ON CONFLICT (service_name, instance_id) DO UPDATE SET last_seen = excluded.last_seen, message_id = excluded.message_id
			WHERE excluded.last_seen > s.last_seen`, service, instance, at, id)
		return err
	})
	if err != nil {
		return err
	}
	return rdb.XAck(b.Context(), stream, "bench", ids...).Err()
}
