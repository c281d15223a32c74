package postgres_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const benchmarkBatch = 5000

// batch is the nth batch of messages of 250 bytes, of 100 instances.
func batch(n int) []store.Message {
	start := time.Now().Truncate(time.Microsecond)
	msgs := make([]store.Message, benchmarkBatch)
	for i := range msgs {
		count := int64(n*benchmarkBatch + i)
		instance := fmt.Sprint("host-", i%100)
		msgs[i] = store.Message{
			ID: fmt.Sprintf("health:messages/%013d-%d", start.UnixMilli(), count), At: start.Add(time.Duration(i) * time.Microsecond),
			Channel: "health:service:geocoding:heartbeat", Service: "geocoding", Instance: instance, Count: count, Status: "running",
			Payload: json.RawMessage(fmt.Sprintf(`{"service_name":"geocoding","instance_id":%q,"timestamp":"2025-01-16T08:30:00.123456+00:00",`+
				`"uptime_seconds":12345.6,"heartbeat_count":%d,"memory_usage_mb":45.2,"cpu_usage_percent":12.5,"cache_size":1000,"upbeat":{"v":1}}`, instance, count)),
		}
	}
	return msgs
}

// measure runs write with batches of its own in as many goroutines as there are processors.
func measure(b *testing.B, write func(writer int, msgs []store.Message) error) {
	b.Helper()
	var batches, writers atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		writer := int(writers.Add(1))
		for pb.Next() {
			if err := write(writer, batch(int(batches.Add(1)))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(batches.Load()*benchmarkBatch)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDB_Record is to be read beside BenchmarkCopy, which is the fastest that the same table can be written to, and
// neither idempotent nor keeps statuses.
func BenchmarkDB_Record(b *testing.B) {
	db := migrated(b, testserver.DatabaseURL(b), postgres.Config{})
	measure(b, func(_ int, msgs []store.Message) error {
		_, err := db.Record(b.Context(), msgs)
		return err
	})
}

func BenchmarkCopy(b *testing.B) {
	dsn := testserver.DatabaseURL(b)
	migrated(b, dsn, postgres.Config{})
	conns := make([]*pgx.Conn, runtime.GOMAXPROCS(0)+1)
	for i := range conns {
		conns[i] = connect(b, dsn)
	}
	columns := []string{"occurred_at", "message_id", "channel", "service_name", "instance_id", "heartbeat_count", "status", "payload"}
	measure(b, func(writer int, msgs []store.Message) error {
		_, err := conns[writer].CopyFrom(b.Context(), pgx.Identifier{"health_messages"}, columns, pgx.CopyFromSlice(len(msgs), func(i int) ([]any, error) {
			m := &msgs[i]
			return []any{m.At, m.ID, m.Channel, m.Service, m.Instance, m.Count, m.Status, string(m.Payload)}, nil
		}))
		return err
	})
}
