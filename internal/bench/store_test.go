package bench_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const (
	storeBatch   = 5000
	storeWriters = 2
)

// beats is the nth batch of messages of 250 bytes, of 100 instances.
func beats(n, size int) []store.Message {
	start := time.Now().Truncate(time.Microsecond)
	msgs := make([]store.Message, size)
	for i := range msgs {
		count := int64(n*size + i)
		instance := fmt.Sprint("host-", count%100)
		msgs[i] = store.Message{
			ID: fmt.Sprintf("health:messages/%013d-%d", start.UnixMilli(), count), At: start.Add(time.Duration(i) * time.Microsecond),
			Channel: "health:service:geocoding:heartbeat", Service: "geocoding", Instance: instance, Count: count, Status: "running",
			Payload: json.RawMessage(fmt.Sprintf(`{"service_name":"geocoding","instance_id":%q,"timestamp":"2025-01-16T08:30:00.123456+00:00",`+
				`"uptime_seconds":12345.6,"heartbeat_count":%d,"memory_usage_mb":45.2,"cpu_usage_percent":12.5,"cache_size":1000,"upbeat":{"v":1}}`, instance, count)),
		}
	}
	return msgs
}

// durablePostgres commits to the disk, as in production.
func durablePostgres(b *testing.B) string {
	b.Helper()
	return testserver.StartPostgres(b, testserver.PostgresConfig{
		Durable: true, Settings: map[string]string{"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"},
	}).DSN()
}

func storeDB(b *testing.B, dsn, schema string) *postgres.DB {
	b.Helper()
	db, err := postgres.Open(b.Context(), dsn, postgres.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.Cleanup(db.Close)
	require.NoError(b, db.Migrate(b.Context()))
	return db
}

// write has so many writers write b.N batches, each on a connection of its own, and reports the rows per second.
func write(b *testing.B, writers, size int, dsn, searchPath string, one func(conn *pgx.Conn, msgs []store.Message) error) {
	b.Helper()
	batches := make([][]store.Message, b.N)
	for i := range batches {
		batches[i] = beats(i, size)
	}
	var conns []*pgx.Conn
	for range writers {
		conn, err := pgx.Connect(b.Context(), dsn)
		require.NoError(b, err)
		defer conn.Close(b.Context())
		_, err = conn.Exec(b.Context(), "SELECT set_config('search_path', $1, false)", searchPath)
		require.NoError(b, err)
		conns = append(conns, conn)
	}
	for i, conn := range conns { // connections are made and statements prepared before the clock runs
		require.NoError(b, one(conn, beats(-1-i, size)))
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for _, conn := range conns {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				if err := one(conn, batches[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkStore_Record writes batches of 5,000 from two writers, and once more the same. The alternatives write no statuses and leave
// nothing for rollups; raw COPY isn't idempotent either.
func BenchmarkStore_Record(b *testing.B) {
	dsn := durablePostgres(b)
	for i, log := range []string{"empty", "10M"} {
		schema := fmt.Sprint("log", i)
		rows := 0
		if log == "10M" {
			rows = 10_000_000
		}
		prepared := sync.OnceFunc(func() { fillLog(b, dsn, schema, rows) })
		for _, way := range []string{"upbeat", "upbeat_replay", "raw_copy", "unnest_by_id"} {
			b.Run(log+"/"+way, func(b *testing.B) {
				prepared()
				db := storeDB(b, dsn, schema)
				one := map[string]func(*pgx.Conn, []store.Message) error{
					"upbeat":        func(_ *pgx.Conn, msgs []store.Message) error { _, err := db.Record(b.Context(), msgs); return err },
					"upbeat_replay": nil,
					"raw_copy":      func(conn *pgx.Conn, msgs []store.Message) error { return rawCopy(b, conn, msgs) },
					"unnest_by_id":  func(conn *pgx.Conn, msgs []store.Message) error { return unnestByID(b, conn, msgs) },
				}
				if way == "upbeat_replay" {
					replayed := beats(1<<20, storeBatch)
					_, err := db.Record(b.Context(), replayed)
					require.NoError(b, err)
					one[way] = func(*pgx.Conn, []store.Message) error { _, err := db.Record(b.Context(), replayed); return err }
				}
				write(b, storeWriters, storeBatch, dsn, schema, one[way])
			})
		}
	}
}

// fillLog gives a schema a log of so many rows of the same kind, and a second log that is keyed as people do it at first.
func fillLog(b *testing.B, dsn, schema string, rows int) {
	b.Helper()
	storeDB(b, dsn, schema)
	conn, err := pgx.Connect(b.Context(), dsn)
	require.NoError(b, err)
	defer conn.Close(b.Context())
	_, err = conn.Exec(b.Context(), fmt.Sprintf(`
		SET search_path = %[1]s;
		CREATE TABLE log_by_id (LIKE health_messages) PARTITION BY RANGE (occurred_at);
		ALTER TABLE log_by_id ALTER received_at SET DEFAULT now();
		CREATE TABLE log_by_id_all PARTITION OF log_by_id DEFAULT;
		INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload)
		SELECT t, 'health:messages/' || n, 'health:service:geocoding:heartbeat', 'geocoding', 'host-' || n %% 100, n, 'running',
			'{"service_name":"geocoding","instance_id":"host-7","timestamp":"2025-01-16T08:30:00.123456+00:00","uptime_seconds":12345.6,'
			|| '"heartbeat_count":1234,"memory_usage_mb":45.2,"cpu_usage_percent":12.5,"cache_size":1000,"upbeat":{"v":1}}'
		FROM (SELECT n, now() - interval '1 minute' + n * interval '1 microsecond' AS t FROM generate_series(1, %[2]d) n) s;
		INSERT INTO log_by_id SELECT * FROM health_messages;
		ALTER TABLE log_by_id ADD PRIMARY KEY (message_id, occurred_at);
		CREATE INDEX ON log_by_id (service_name, occurred_at);
		CHECKPOINT`, schema, rows))
	require.NoError(b, err)
}

func rawCopy(b *testing.B, conn *pgx.Conn, msgs []store.Message) error {
	b.Helper()
	columns := []string{"occurred_at", "message_id", "channel", "service_name", "instance_id", "heartbeat_count", "status", "payload"}
	_, err := conn.CopyFrom(b.Context(), pgx.Identifier{"health_messages"}, columns, pgx.CopyFromSlice(len(msgs), func(i int) ([]any, error) {
		m := &msgs[i]
		return []any{m.At, m.ID, m.Channel, m.Service, m.Instance, m.Count, m.Status, string(m.Payload)}, nil
	}))
	return err
}

func unnestByID(b *testing.B, conn *pgx.Conn, msgs []store.Message) error {
	b.Helper()
	var (
		at                                              []time.Time
		id, channel, service, instance, status, payload []string
		count                                           []int64
		insert                                          = "INSERT INTO log_by_id (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload) " +
			"SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[]) ON CONFLICT DO NOTHING"
	)
	for _, m := range msgs {
		at, id, channel, service = append(at, m.At), append(id, m.ID), append(channel, m.Channel), append(service, m.Service)
		instance, count, status, payload = append(instance, m.Instance), append(count, m.Count), append(status, m.Status), append(payload, string(m.Payload))
	}
	_, err := conn.Exec(b.Context(), insert, at, id, channel, service, instance, count, status, payload)
	return err
}

const insertRow = "INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload) " +
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"

// insertRowAndStatus does the same as Record for one message, but for what rollups need.
const insertRowAndStatus = "WITH i AS (" + insertRow + ` RETURNING *)
	INSERT INTO instance_status AS s (service_name, instance_id, current_status, last_seen, heartbeat_count, message_id)
	SELECT service_name, instance_id, status, occurred_at, heartbeat_count, message_id FROM i
	ON CONFLICT (service_name, instance_id) DO UPDATE SET current_status = excluded.current_status, last_seen = excluded.last_seen,
		heartbeat_count = excluded.heartbeat_count, message_id = excluded.message_id
	WHERE (excluded.heartbeat_count, excluded.last_seen, excluded.message_id) > (s.heartbeat_count, s.last_seen, s.message_id)`

// BenchmarkStore_RecordSmall has 64 callers write 1 or 10 messages at a time, beside as many that write a row at a time on a connection
// each, with and without its status.
func BenchmarkStore_RecordSmall(b *testing.B) {
	dsn := durablePostgres(b)
	const callers = 64
	for _, size := range []int{1, 10} {
		b.Run(fmt.Sprint("upbeat/", size), func(b *testing.B) {
			db := storeDB(b, dsn, fmt.Sprint("upbeat", size))
			write(b, callers, size, dsn, "public", func(_ *pgx.Conn, msgs []store.Message) error {
				_, err := db.Record(b.Context(), msgs)
				return err
			})
		})
		for name, statement := range map[string]string{"rows": insertRow, "rows_and_status": insertRowAndStatus} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				schema := fmt.Sprint(name, size)
				storeDB(b, dsn, schema)
				write(b, callers, size, dsn, schema, func(conn *pgx.Conn, msgs []store.Message) error {
					for _, m := range msgs {
						_, err := conn.Exec(b.Context(), statement, m.At, m.ID, m.Channel, m.Service, m.Instance, m.Count, m.Status, string(m.Payload))
						if err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
	}
}
