package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func change(state store.UptimeState, seconds int) store.UptimeChange {
	return store.UptimeChange{Service: "geocoding", Instance: "host-1", State: state, At: start.Add(time.Duration(seconds) * time.Second)}
}

// uptimeEpisodes of one instance, as "state from-to", in seconds since start.
func uptimeEpisodes(tb testing.TB, conn *pgx.Conn) []string {
	tb.Helper()
	rows, err := conn.Query(tb.Context(), "SELECT state, started_at, ended_at FROM uptime_episodes WHERE instance_id = 'host-1' ORDER BY started_at")
	require.NoError(tb, err)
	var all []string
	var state string
	var from time.Time
	var to *time.Time
	_, err = pgx.ForEachRow(rows, []any{&state, &from, &to}, func() error {
		text := fmt.Sprintf("%s %g-", state, from.Sub(start).Seconds())
		if to != nil {
			text += fmt.Sprint(to.Sub(start).Seconds())
		}
		all = append(all, text)
		return nil
	})
	require.NoError(tb, err)
	return all
}

// TestDB_UptimeInAnyOrder says the same in many orders, in parts, twice and from several at once: it comes to the same.
func TestDB_UptimeInAnyOrder(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	changes := []store.UptimeChange{
		change(store.StateUp, 0), change(store.StateUp, 10), change(store.StateDown, 20), change(store.StateUp, 30),
		change(store.StateUnknown, 40), change(store.StateDown, 40), change(store.StateUp, 40), // the worst of them stays
		change(store.StateStopped, 50), change(store.StateUp, 60), change(store.StateUnknown, 70),
	}
	for round := range 5 {
		schema := fmt.Sprint("uptime", round)
		db := migrated(t, dsn, postgres.Config{Schema: schema})
		var wg sync.WaitGroup
		for range 3 {
			mine := slices.Clone(changes)
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			wg.Go(func() {
				for part := range slices.Chunk(mine, 1+rand.IntN(5)) {
					_, err := db.RecordUptime(t.Context(), part)
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		n, err := db.RecordUptime(t.Context(), changes)
		require.NoError(t, err)
		require.Zero(t, n, "all is known")
		execute(t, conn, "SET search_path = "+schema)
		require.Equal(t, []string{"up 0-20", "down 20-30", "up 30-40", "down 40-50", "stopped 50-60", "up 60-70", "unknown 70-"}, uptimeEpisodes(t, conn))
	}
}

func TestDB_UptimeRefusedByName(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	n, err := db.RecordUptime(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	bad := []store.UptimeChange{change("asleep", 1), change(store.StateUp, 2), change(store.StateUp, 3), change(store.StateUp, 4), change(store.StateUp, 5), change(store.StateUp, 6)}
	bad[1].Service = ""
	bad[2].Instance = "\x00"
	bad[3].At = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	bad[4].Reason = "\xff"
	bad[5].Service = strings.Repeat("x", 513)
	long := change(store.StateUp, 7)
	long.Reason = strings.Repeat("x", 1<<20)
	n, err = db.RecordUptime(t.Context(), append(bad, long))
	require.Equal(t, 1, n)
	var refused *store.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Len(t, refused.Messages, len(bad))
	for i, m := range refused.Messages {
		require.Equal(t, i, m.Index)
	}
	require.Equal(t, "geocoding/host-1", refused.Messages[0].ID)
	require.Equal(t, store.MaxAlertBytes, number(t, connect(t, dsn), "SELECT length(reason) FROM uptime_changes"))
}

// TestDB_MaintainForgetsWhatIsOver keeps what an instance is in since before the time that is kept.
func TestDB_MaintainForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{Retention: 2 * day})
	conn := connect(t, dsn)
	for _, row := range []string{"up -200", "down -190", "up -180", "down -1"} {
		state, hours, _ := strings.Cut(row, " ")
		execute(t, conn, "INSERT INTO uptime_changes VALUES ('s', 'busy', now() + $1::interval, $2, '')", hours+" hours", state)
	}
	execute(t, conn, "INSERT INTO uptime_changes VALUES ('s', 'gone', now() - interval '200 hours', 'up', ''), ('s', 'gone', now() - interval '190 hours', 'down', '')")
	execute(t, conn, "INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at) "+
		"SELECT n, '', '', '', '', '', now() - interval '200 hours', now(), 1, CASE n WHEN 'old' THEN now() - interval '190 hours' WHEN 'new' THEN now() END "+
		"FROM unnest('{old,new,open}'::text[]) n")
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM uptime_changes WHERE instance_id = 'busy'"))
	require.Zero(t, number(t, conn, "SELECT count(*) FROM uptime_changes WHERE instance_id = 'gone'"))
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM health_alerts WHERE fingerprint IN ('new', 'open')"))
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM health_alerts"))
}
