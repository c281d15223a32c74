package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// BenchmarkStore_Dashboard asks for the dashboard of 1,000 services with 10,000,000 messages, beside a lookup of the same services
// by their primary key; and for a page of what happened to a service that is busy and to one that fell silent long ago, beside the
// same messages read backwards through the log.
func BenchmarkStore_Dashboard(b *testing.B) {
	const services, messages, schema = 1000, 10_000_000, "fleet"
	dsn := durablePostgres(b)
	db := storeDB(b, dsn, schema)
	conn, err := pgx.Connect(b.Context(), dsn)
	require.NoError(b, err)
	defer conn.Close(b.Context())
	fillFleet(b, conn, schema, services, messages)

	b.Run("upbeat", func(b *testing.B) {
		for b.Loop() {
			d, err := db.Dashboard(b.Context(), store.DashboardQuery{})
			require.NoError(b, err)
			require.Len(b, d.Services, services)
			require.NotZero(b, d.Throughput.Messages)
		}
	})
	b.Run("lookup_by_key", func(b *testing.B) {
		names, instances := make([]string, services), make([]string, services)
		for i := range names {
			names[i], instances[i] = fmt.Sprint("service-", i), "host-1"
		}
		for b.Loop() {
			rows, err := conn.Query(b.Context(), "SELECT s.* FROM unnest($1::text[], $2::text[]) AS k (service, instance) "+
				"JOIN fleet.instance_status s ON s.service_name = k.service AND s.instance_id = k.instance", names, instances)
			require.NoError(b, err)
			found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s statusRow, err error) {
				return s, r.Scan(&s.service, &s.instance, &s.status, &s.lastSeen, &s.count, &s.id)
			})
			require.NoError(b, err)
			require.Len(b, found, services)
		}
	})
	for _, service := range []string{"service-7", "silent"} {
		b.Run("timeline_"+service+"/upbeat", func(b *testing.B) {
			for b.Loop() {
				line, err := db.Timeline(b.Context(), store.TimelineQuery{Service: service})
				require.NoError(b, err)
				require.Len(b, line.Events, 100)
			}
		})
		b.Run("timeline_"+service+"/backwards", func(b *testing.B) {
			for b.Loop() {
				rows, err := conn.Query(b.Context(), "SELECT * FROM fleet.health_messages WHERE service_name = $1 ORDER BY occurred_at DESC, message_id DESC LIMIT 100", service)
				require.NoError(b, err)
				found, err := pgx.CollectRows(rows, pgx.RowToMap)
				require.NoError(b, err)
				require.Len(b, found, 100)
			}
		})
	}
}

type statusRow struct {
	service, instance, status, id string
	lastSeen                      time.Time
	count                         int64
}

// fillFleet makes services that send a thousand messages a second, all of them together, as Record and Maintain leave them.
func fillFleet(b *testing.B, conn *pgx.Conn, schema string, services, messages int) {
	b.Helper()
	_, err := conn.Exec(b.Context(), fmt.Sprintf(`
		SET search_path = %[1]s;
		SET timezone = 'UTC';
		SET synchronous_commit = off;
		DO $do$ DECLARE d date; BEGIN
			FOR d IN SELECT generate_series(current_date - 2, current_date - 1, interval '1 day') LOOP
				EXECUTE format('CREATE TABLE health_messages_%%s PARTITION OF health_messages FOR VALUES FROM (%%L) TO (%%L)', to_char(d, 'YYYYMMDD'), d, d + 1);
				EXECUTE format('CREATE TABLE health_rollups_%%s PARTITION OF health_rollups FOR VALUES FROM (%%L) TO (%%L)', to_char(d, 'YYYYMMDD'), d, d + 1);
			END LOOP;
		END $do$;
		INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status, payload)
		SELECT now() - (%[3]d - n) * interval '1 ms', 'health:messages/' || n, 'health:service:' || n %% %[2]d || ':heartbeat', 'service-' || n %% %[2]d, 'host-1', n, 'running',
			'{"latency_ms":12.5,"memory_usage_mb":45.2}'
		FROM generate_series(1, %[3]d) n;
		INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status)
		SELECT now() - %[3]d * interval '1 ms' + n * interval '1 ms', 'silent/' || n, '', 'silent', '', 0, '' FROM generate_series(1, 200) n;
		INSERT INTO health_rollups
		SELECT service_name, '', date_bin('1 minute', occurred_at, 'epoch'), count(*), 0, 0, 0, '{}', '{}' FROM health_messages WHERE service_name = 'silent' GROUP BY 1, 3;
		INSERT INTO instance_status SELECT 'service-' || n, 'host-1', 'running', now(), n, '' FROM generate_series(0, %[2]d - 1) n;
		INSERT INTO health_rollups
		SELECT 'service-' || s, metric, minute, 60, 12.5, 12.5, 750, CASE metric WHEN '' THEN '{}' ELSE '{530}' END::smallint[], CASE metric WHEN '' THEN '{}' ELSE '{60}' END::bigint[]
		FROM generate_series(0, %[2]d - 1) s, unnest(ARRAY['', 'latency_ms', 'memory_usage_mb']) metric,
			generate_series(date_bin('1 minute', now() - %[3]d * interval '1 ms', 'epoch'), now(), interval '1 minute') minute;
		INSERT INTO rollup_pending SELECT date_bin('1 minute', now(), 'epoch') FROM generate_series(1, 1000);
		INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
		SELECT 'f-' || n, 'service-' || n %% %[2]d, '', 'disk', 'warning', '', now(), now(), 1, CASE WHEN n > 50 THEN now() END FROM generate_series(1, 20000) n;
		ANALYZE`, schema, services, messages))
	require.NoError(b, err)
}
