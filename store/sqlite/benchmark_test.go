package sqlite_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
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

func measure(b *testing.B, write func([]store.Message) error) {
	b.Helper()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		msgs := batch(n)
		b.StartTimer()
		require.NoError(b, write(msgs))
	}
	b.ReportMetric(float64(n*benchmarkBatch)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDB_Record is to be read beside BenchmarkLoop: what a service would write by hand, into the same table, which is
// idempotent but neither checks anything nor keeps statuses.
func BenchmarkDB_Record(b *testing.B) {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "x.db"), sqlite.Config{})
	require.NoError(b, err)
	defer db.Close()
	require.NoError(b, db.Migrate(b.Context()))
	measure(b, func(msgs []store.Message) error {
		_, err := db.Record(b.Context(), msgs)
		return err
	})
}

func BenchmarkLoop(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	migrated, err := sqlite.Open(b.Context(), path, sqlite.Config{})
	require.NoError(b, err)
	require.NoError(b, migrated.Migrate(b.Context()))
	require.NoError(b, migrated.Close())
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	require.NoError(b, err)
	defer db.Close()
	measure(b, func(msgs []store.Message) error { return insertByHand(b, db, msgs) })
}

func insertByHand(b *testing.B, db *sql.DB, msgs []store.Message) error {
	b.Helper()
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		return err
	}
	statement, err := tx.PrepareContext(b.Context(), `INSERT INTO health_messages
		(occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		return err
	}
	defer statement.Close()
	now := time.Now().UnixMicro()
	for i := range msgs {
		m := &msgs[i]
		_, err := statement.ExecContext(b.Context(), m.At.UnixMicro(), m.ID, now, m.Channel, m.Service, m.Instance, m.Count, m.Status, string(m.Payload))
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}
