package postgres_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
	"github.com/upbeat-go/upbeat/store/storetest"
)

const countHypertables = "SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_schema = current_schema()"

// startTimescale starts a server with TimescaleDB, or skips the test where that isn't installed. An empty license is that of the edition
// that is installed.
func startTimescale(t *testing.T, license string) *testserver.Postgres {
	t.Helper()
	conn := connect(t, testserver.DatabaseURL(t))
	if number(t, conn, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'") == 0 {
		t.Skip("TimescaleDB isn't installed for this Postgres")
	}
	settings := map[string]string{"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
	if license != "" {
		settings["timescaledb.license"] = license
	}
	return testserver.StartPostgres(t, testserver.PostgresConfig{Settings: settings})
}

func TestDB_TimescaleConformance(t *testing.T) {
	t.Parallel()
	for _, license := range []string{"apache", ""} {
		if testserver.Race && license == "" {
			continue
		}
		t.Run("license "+license, func(t *testing.T) {
			t.Parallel()
			pg := startTimescale(t, license)
			execute(t, connect(t, pg.DSN()), "CREATE SCHEMA extensions; CREATE EXTENSION timescaledb SCHEMA extensions")
			storetest.Run(t, func(t *testing.T) storetest.Store {
				t.Helper()
				return openAt(t, pg.DSN(), postgres.Config{PoolSize: 6, Schema: "fleet " + rand.Text()})
			})
		})
	}
}

// TestDB_TimescaleIsUsedFromTheBeginningOrNot holds that the kind of the tables is that of the first Migrate.
func TestDB_TimescaleIsUsedFromTheBeginningOrNot(t *testing.T) {
	t.Parallel()
	pg := startTimescale(t, "apache")
	conn := connect(t, pg.DSN())
	migrated(t, pg.DSN(), postgres.Config{Schema: "before"})
	execute(t, conn, "CREATE EXTENSION timescaledb")
	for _, schema := range []string{"before", "after"} {
		for range 2 {
			db := migrated(t, pg.DSN(), postgres.Config{Schema: schema})
			require.NoError(t, db.Maintain(t.Context()))
		}
	}
	for schema, want := range map[string]int{"before": 0, "after": 2} {
		execute(t, conn, "SET search_path = "+schema+", public")
		require.Equal(t, want, number(t, conn, countHypertables), schema)
	}
}

// TestDB_TimescaleKeepsAndDrops writes, replays, rolls up and drops.
func TestDB_TimescaleKeepsAndDrops(t *testing.T) {
	t.Parallel()
	pg := startTimescale(t, "apache")
	conn := connect(t, pg.DSN())
	execute(t, conn, "CREATE EXTENSION timescaledb")
	db := migrated(t, pg.DSN(), postgres.Config{Retention: 10 * day})
	msgs := measured(2000, 100)
	for i := range 100 {
		msgs[i].At = msgs[i].At.Add(-8 * day)
	}
	for _, want := range []int{len(msgs), 0} {
		n, err := db.Record(t.Context(), msgs)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.NoError(t, db.Maintain(t.Context()))
		requireRollups(t, rollupsOf(msgs), readRollups(t, conn))
	}
	require.GreaterOrEqual(t, number(t, conn, "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'health_messages'"), 2)

	short := openAt(t, pg.DSN(), postgres.Config{Retention: 5 * day})
	require.NoError(t, short.Maintain(t.Context()))
	require.Equal(t, len(msgs)-100, number(t, conn, "SELECT count(*) FROM health_messages"))
	requireRollups(t, rollupsOf(msgs[100:]), readRollups(t, conn))

	forever := openAt(t, pg.DSN(), postgres.Config{Retention: -1})
	late := []store.Message{beat("late", 1, time.Now().Add(-50*day))}
	_, err := forever.Record(t.Context(), late)
	require.ErrorContains(t, err, "At is outside")
	execute(t, conn, "INSERT INTO health_messages (occurred_at, message_id, channel, service_name, instance_id, heartbeat_count, status) "+
		"VALUES (now() - interval '60 days', 'old', '', '', '', 0, '')")
	n, err := forever.Record(t.Context(), late)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
