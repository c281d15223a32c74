package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// BenchmarkStore_Indexes measures what the indexes of reading cost those who write: each write beside the same one without the index;
// and what one on the log by service would cost Record, which is why there is none.
func BenchmarkStore_Indexes(b *testing.B) {
	dsn := durablePostgres(b)
	const onLog = "CREATE INDEX IF NOT EXISTS log_by_service ON health_messages (service_name, occurred_at)"
	for i, c := range []struct {
		write, way, change string
		size               int
		one                func(b *testing.B, db *postgres.DB, msgs []store.Message) error
	}{
		{"record", "upbeat", "", storeBatch, record},
		{"record", "with_service_index", onLog, storeBatch, record},
		{"record_1000_services", "upbeat", "", storeBatch, recordFleet},
		{"record_1000_services", "with_service_index", onLog, storeBatch, recordFleet},
		{"uptime", "upbeat", "", 1000, recordUptime},
		{"uptime", "without_index", "DROP INDEX IF EXISTS uptime_changes_by_time", 1000, recordUptime},
		{"alert", "upbeat", "", 1, raiseAndResolve},
		{"alert", "without_index", "DROP INDEX IF EXISTS health_alerts_by_end", 1, raiseAndResolve},
		{"maintain", "upbeat", "", storeBatch, maintain},
		{"maintain", "without_index", "DROP INDEX IF EXISTS health_rollups_by_metric", storeBatch, maintain},
	} {
		b.Run(c.write+"/"+c.way, func(b *testing.B) {
			schema := fmt.Sprint("indexes", i)
			db := storeDB(b, dsn, schema)
			if c.change != "" {
				execute(b, dsn, "SET search_path = "+schema+"; "+c.change)
			}
			write(b, storeWriters, c.size, dsn, schema, func(_ *pgx.Conn, msgs []store.Message) error { return c.one(b, db, msgs) })
		})
	}
}

func execute(b *testing.B, dsn, sql string) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), dsn)
	require.NoError(b, err)
	defer conn.Close(b.Context())
	_, err = conn.Exec(b.Context(), sql)
	require.NoError(b, err)
}

func record(b *testing.B, db *postgres.DB, msgs []store.Message) error {
	b.Helper()
	_, err := db.Record(b.Context(), msgs)
	return err
}

func recordFleet(b *testing.B, db *postgres.DB, msgs []store.Message) error {
	b.Helper()
	for i := range msgs {
		msgs[i].Service = fmt.Sprint("service-", i%1000)
	}
	return record(b, db, msgs)
}

func recordUptime(b *testing.B, db *postgres.DB, msgs []store.Message) error {
	b.Helper()
	changes := make([]store.UptimeChange, len(msgs))
	for i, m := range msgs {
		changes[i] = store.UptimeChange{Service: fmt.Sprint("service-", i%100), Instance: m.ID, State: store.StateUp, At: m.At}
	}
	_, err := db.RecordUptime(b.Context(), changes)
	return err
}

func raiseAndResolve(b *testing.B, db *postgres.DB, msgs []store.Message) error {
	b.Helper()
	for _, m := range msgs {
		if _, err := db.RaiseAlert(b.Context(), store.Alert{Service: m.Service, Name: m.ID, RaisedAt: m.At}); err != nil {
			return err
		}
		if _, err := db.ResolveAlert(b.Context(), store.Fingerprint(m.Service, "", m.ID), "", m.At.Add(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// maintain spreads the messages over an hour and rolls them up.
func maintain(b *testing.B, db *postgres.DB, msgs []store.Message) error {
	b.Helper()
	for i := range msgs {
		msgs[i].At = msgs[i].At.Add(-time.Duration(i%60) * time.Minute)
	}
	if err := recordFleet(b, db, msgs); err != nil {
		return err
	}
	return db.Maintain(b.Context())
}
