package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// fleetServices send a message a second each, so that each minute has 60,000.
const fleetServices = 1000

// TestDB_LargeFleet asks for the dashboard and for timelines of a fleet with many messages (ten million under make soak): what the
// server reads for it doesn't grow with the log.
func TestDB_LargeFleet(t *testing.T) {
	t.Parallel()
	pg := testserver.StartPostgres(t, testserver.PostgresConfig{Settings: map[string]string{"autovacuum": "off", "max_wal_size": "4GB"}})
	db := migrated(t, pg.DSN(), postgres.Config{})
	conn := connect(t, pg.DSN())
	fillFleet(t, pg.DSN(), testserver.Times(150_000, 10_000_000))
	db.Close()
	alone := func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == 1
	}
	require.Eventually(t, alone, 10*time.Second, 10*time.Millisecond)
	ctx := t.Context()
	for name, c := range map[string]struct {
		rows int
		call func(db *postgres.DB) error
	}{
		"dashboard": {10 * fleetServices, func(db *postgres.DB) error {
			d, err := db.Dashboard(ctx, store.DashboardQuery{})
			require.Len(t, d.Services, fleetServices+1)
			require.NotZero(t, d.Throughput.Messages)
			return err
		}},
		"timeline": {4 * 60 * fleetServices, func(db *postgres.DB) error { // of all services, in the minutes of a page
			line, err := db.Timeline(ctx, store.TimelineQuery{Service: "service-7"})
			require.Len(t, line.Events, 100)
			return err
		}},
		"timeline of a service that fell silent": {2 * 60 * fleetServices, func(db *postgres.DB) error {
			line, err := db.Timeline(ctx, store.TimelineQuery{Service: "silent"})
			require.Len(t, line.Events, 100)
			return err
		}},
	} {
		before := fleetReads(t, conn)
		db := openAt(t, pg.DSN(), postgres.Config{PoolSize: 1})
		start := time.Now()
		require.NoError(t, c.call(db), name)
		took := time.Since(start)
		db.Close() // a server process tells its figures at the latest when it ends
		require.Eventually(t, func() bool { return fleetReads(t, conn) > before && alone() }, 10*time.Second, 10*time.Millisecond, name)
		read := fleetReads(t, conn) - before
		t.Logf("%-40s %8d rows, %s", name, read, took)
		require.LessOrEqual(t, read, c.rows, name)
	}
}

func fleetReads(t *testing.T, conn *pgx.Conn) int {
	t.Helper()
	return number(t, conn, "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE relname ~ '^(health_|instance_|uptime_|rollup_)'")
}

// fillFleet makes what Record and Maintain leave of a thousand messages a second, and of a service that has sent nothing but the first
// 200; on a connection of its own, which tells what it read for that when it ends.
func fillFleet(t *testing.T, dsn string, messages int) {
	t.Helper()
	conn := connect(t, dsn)
	execute(t, conn, "SET timezone = 'UTC'")
	for ago := range 2 {
		d := time.Now().UTC().Add(-time.Duration(ago+1) * day).Truncate(day)
		for _, table := range []string{"health_messages", "health_rollups"} {
			execute(t, conn, fmt.Sprintf("CREATE TABLE %[1]s_%[2]s PARTITION OF %[1]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')",
				table, d.Format("20060102"), d.Format(time.DateOnly), d.Add(day).Format(time.DateOnly)))
		}
	}
	end := time.Now().UTC().Truncate(time.Minute)
	begin := end.Add(-time.Duration(messages) * time.Millisecond)
	for _, fill := range []string{
		`INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload)
			SELECT $1::timestamptz + n * interval '1 ms', 'health:messages/' || n, '', 'service-' || n % $3::int, 'host-1', n, 'running', '{"latency_ms":12.5}'
			FROM generate_series(0, $2::int - 1) n`,
		`INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status)
			SELECT $1::timestamptz + n * interval '1 ms', 'silent/' || n, '', 'silent', '', 0, '' FROM generate_series(1, least(200, $2::int, $3::int)) n`,
		`INSERT INTO health_rollups SELECT service_name, '', date_bin('1 minute', occurred_at, 'epoch'), count(*), 0, 0, 0, '{}', '{}'
			FROM health_messages WHERE $1::timestamptz IS NOT NULL AND $2::int > 0 AND $3::int > 0 GROUP BY 1, 3`,
		`INSERT INTO instance_status SELECT service_name, 'host-1', 'running', $1::timestamptz + $2::int * interval '1 ms', $3::int, ''
			FROM (SELECT DISTINCT service_name FROM health_rollups) s`,
	} {
		execute(t, conn, fill, begin, messages, fleetServices)
	}
	execute(t, conn, "VACUUM ANALYZE")
	require.NoError(t, conn.Close(t.Context()))
}
