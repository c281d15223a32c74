package postgres_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

func alertMessage(name string, seconds int, resolved bool) store.Message {
	return store.Message{
		ID: fmt.Sprint(name, seconds, resolved), At: start.Add(time.Duration(seconds) * time.Second), Service: "geocoding", Instance: "host-1",
		Alert:   &store.AlertChange{Name: name, Severity: "warning", Message: fmt.Sprint("at ", seconds), Resolved: resolved},
		Payload: json.RawMessage(`{}`),
	}
}

var start = time.Now().Add(-time.Hour).UTC().Truncate(time.Second)

func raised(seconds int) store.Message   { return alertMessage("disk", seconds, false) }
func resolved(seconds int) store.Message { return alertMessage("disk", seconds, true) }

// episodes are those of all alerts, in seconds since start: "first-last*count-end".
func episodes(tb testing.TB, conn *pgx.Conn) []string {
	tb.Helper()
	rows, err := conn.Query(tb.Context(), "SELECT raised_at, last_raised_at, raise_count, resolved_at, message FROM health_alerts "+
		"WHERE raise_count > 0 ORDER BY raised_at, alert_id")
	require.NoError(tb, err)
	var all []string
	var first, last time.Time
	var end *time.Time
	var count int
	var message string
	_, err = pgx.ForEachRow(rows, []any{&first, &last, &count, &end, &message}, func() error {
		text := fmt.Sprintf("%g-%g*%d", first.Sub(start).Seconds(), last.Sub(start).Seconds(), count)
		if end != nil {
			text += fmt.Sprintf("-%g", end.Sub(start).Seconds())
		}
		assert.Equal(tb, fmt.Sprintf("at %g", last.Sub(start).Seconds()), message, "the newest one's words stay")
		all = append(all, text)
		return nil
	})
	require.NoError(tb, err)
	return all
}

func TestDB_AlertsOfMessages(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	conn := connect(t, dsn)
	for name, c := range map[string]struct {
		batches [][]store.Message
		want    []string
	}{
		"open":                        {[][]store.Message{{raised(1)}}, []string{"1-1*1"}},
		"counted":                     {[][]store.Message{{raised(1), raised(2)}, {raised(3)}}, []string{"1-3*3"}},
		"resolved":                    {[][]store.Message{{raised(1)}, {resolved(2)}}, []string{"1-1*1-2"}},
		"all in a batch":              {[][]store.Message{{resolved(2), raised(1), raised(3)}}, []string{"1-1*1-2", "3-3*1"}},
		"replayed":                    {[][]store.Message{{raised(1), raised(2)}, {raised(2), raised(1)}, {raised(1)}}, []string{"1-2*2"}},
		"raise replayed after end":    {[][]store.Message{{raised(1)}, {resolved(2)}, {raised(1)}}, []string{"1-1*1-2"}},
		"end before its raise":        {[][]store.Message{{resolved(2)}, {raised(1)}}, []string{"1-1*1-2"}},
		"end before its raise, again": {[][]store.Message{{resolved(2)}, {resolved(4)}, {raised(3)}, {raised(1)}, {raised(5)}}, []string{"1-3*2-4", "5-5*1"}},
		"late raise":                  {[][]store.Message{{raised(3)}, {raised(1)}}, []string{"1-3*2"}},
		"late raise of what is over":  {[][]store.Message{{raised(3)}, {resolved(4)}, {raised(5)}, {raised(1)}}, []string{"1-3*2-4", "5-5*1"}},
		"late end":                    {[][]store.Message{{raised(1), raised(3)}, {resolved(2)}}, []string{"1-3*2"}},
		"end without a raise":         {[][]store.Message{{resolved(1)}, {resolved(2)}, {resolved(3)}}, nil},
	} {
		schema := fmt.Sprintf("alerts %s", name)
		db := migrated(t, dsn, postgres.Config{Schema: schema})
		for _, batch := range c.batches {
			_, err := db.Record(t.Context(), batch)
			require.NoError(t, err)
		}
		execute(t, conn, "SELECT set_config('search_path', quote_ident($1), false)", schema)
		require.Equal(t, c.want, episodes(t, conn), name)
		require.LessOrEqual(t, number(t, conn, "SELECT count(*) FROM health_alerts WHERE raise_count = 0"), 1, name)
	}
}

// TestDB_AlertsOfBigBatches goes by way of COPY, and finds the same as one message at a time.
func TestDB_AlertsOfBigBatches(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	var msgs []store.Message
	for i := range 300 {
		msgs = append(msgs, alertMessage(fmt.Sprint("alert ", i%20), i, i%60 >= 40))
	}
	var got [2][]string
	for i, size := range []int{1, len(msgs)} {
		db := migrated(t, dsn, postgres.Config{Schema: fmt.Sprint("schema", i)})
		for start := 0; start < len(msgs); start += size {
			for range 2 { // a replay changes nothing
				_, err := db.Record(t.Context(), msgs[start:start+size])
				require.NoError(t, err)
			}
		}
		conn := connect(t, dsn)
		execute(t, conn, fmt.Sprintf("SET search_path = schema%d", i))
		got[i] = episodes(t, conn)
	}
	require.Len(t, got[0], 20*5)
	require.Equal(t, got[0], got[1])
}

// TestDB_OneOpenEpisodeUnderRaces has many raise, resolve and acknowledge the same alerts, by messages and by calls.
func TestDB_OneOpenEpisodeUnderRaces(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	const writers, rounds, names = 8, 40, 3
	var dbs []*postgres.DB
	for range 2 {
		dbs = append(dbs, migrated(t, dsn, postgres.Config{}))
	}
	var opened, raises atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		db := dbs[w%len(dbs)]
		wg.Go(func() {
			for round := range rounds {
				name := fmt.Sprint("alert ", rand.IntN(names))
				fingerprint := store.Fingerprint("geocoding", "", name)
				at := start.Add(time.Duration(round) * time.Second).Add(time.Duration(w) * time.Millisecond)
				switch rand.IntN(4) {
				case 0:
					isNew, err := db.RaiseAlert(t.Context(), store.Alert{Service: "geocoding", Name: name, RaisedAt: at})
					assert.NoError(t, err)
					if isNew {
						opened.Add(1)
					}
				case 1:
					_, err := db.ResolveAlert(t.Context(), fingerprint, "anna", at)
					assert.NoError(t, err)
				case 2:
					_, err := db.AcknowledgeAlert(t.Context(), fingerprint, "anna")
					assert.NoError(t, err)
				default:
					var msgs []store.Message
					for i := range names {
						m := store.Message{ID: fmt.Sprint(w, round, i), At: at, Service: "geocoding", Alert: &store.AlertChange{Name: fmt.Sprint("alert ", i)}}
						msgs = append(msgs, m)
					}
					_, err := db.Record(t.Context(), msgs)
					assert.NoError(t, err)
					raises.Add(names)
				}
			}
		})
	}
	wg.Wait()
	conn := connect(t, dsn)
	require.Positive(t, opened.Load())
	require.LessOrEqual(t, number(t, conn, "SELECT count(*) FROM health_alerts WHERE resolved_at IS NULL"), names)
	require.GreaterOrEqual(t, number(t, conn, "SELECT sum(raise_count)::int FROM health_alerts"), int(raises.Load()))
	require.Zero(t, number(t, conn, "SELECT count(*) FROM health_alerts a JOIN health_alerts b USING (fingerprint) "+
		"WHERE a.alert_id <> b.alert_id AND a.raised_at < b.raised_at AND b.raised_at < a.resolved_at"), "episodes don't overlap")
}

// TestDB_AlertEndsWhileItIsRaised has one process tell of an alert and another, at the same moment, of its end.
func TestDB_AlertEndsWhileItIsRaised(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	const rounds = 150
	dbs := []*postgres.DB{migrated(t, dsn, postgres.Config{}), migrated(t, dsn, postgres.Config{})}
	for round := range rounds {
		var wg sync.WaitGroup
		for i, db := range dbs {
			wg.Go(func() {
				_, err := db.Record(t.Context(), []store.Message{alertMessage(fmt.Sprint("alert ", round), 1+i, i == 1)})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
	}
	conn := connect(t, dsn)
	require.Equal(t, rounds, number(t, conn, "SELECT count(*) FROM health_alerts WHERE raise_count = 1 AND resolved_at - raised_at = interval '1 second'"))
	require.Equal(t, rounds, number(t, conn, "SELECT count(*) FROM health_alerts"))
}

// TestDB_AlertsByCall raises, repeats, acknowledges and resolves by hand.
func TestDB_AlertsByCall(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	conn := connect(t, dsn)
	alert := store.Alert{Service: "geocoding", Instance: "host-1", Name: "disk", Severity: "critical", Message: "at 1", RaisedAt: start.Add(time.Second)}
	fingerprint := store.Fingerprint("geocoding", "host-1", "disk")
	for i := range 3 { // the same call again, as after a lost reply
		opened, err := db.RaiseAlert(t.Context(), alert)
		require.NoError(t, err)
		require.Equal(t, i == 0, opened)
	}
	require.Equal(t, []string{"1-1*1"}, episodes(t, conn))
	open, err := db.AcknowledgeAlert(t.Context(), fingerprint, "anna")
	require.NoError(t, err)
	require.True(t, open)
	_, err = db.AcknowledgeAlert(t.Context(), fingerprint, "ben")
	require.NoError(t, err)
	require.Equal(t, 1, number(t, conn, "SELECT count(*) FROM health_alerts WHERE acknowledged_by = 'anna' AND acknowledged_at > now() - interval '1 hour'"))

	for _, at := range []int{0, 5, 6} { // before it was raised; then; again
		was, err := db.ResolveAlert(t.Context(), fingerprint, "anna", start.Add(time.Duration(at)*time.Second))
		require.NoError(t, err)
		require.Equal(t, at == 5, was)
	}
	open, err = db.AcknowledgeAlert(t.Context(), fingerprint, "ben")
	require.NoError(t, err)
	require.False(t, open)
	opened, err := db.RaiseAlert(t.Context(), alert)
	require.NoError(t, err)
	require.False(t, opened, "that was before its end")
	require.Equal(t, []string{"1-1*1-5"}, episodes(t, conn))

	alert.RaisedAt = time.Time{}
	opened, err = db.RaiseAlert(t.Context(), alert)
	require.NoError(t, err)
	require.True(t, opened)
	was, err := db.ResolveAlert(t.Context(), fingerprint, "", time.Time{})
	require.NoError(t, err)
	require.True(t, was)
	require.Equal(t, 2, number(t, conn, "SELECT count(*) FROM health_alerts"))
}

func TestDB_AlertsRefused(t *testing.T) {
	t.Parallel()
	dsn := testserver.DatabaseURL(t)
	db := migrated(t, dsn, postgres.Config{})
	bad := map[string]store.AlertChange{
		"Alert without a Name":   {},
		"Alert.Name holds":       {Name: "\x00"},
		"Alert.Fingerprint is":   {Fingerprint: "\xff"},
		"Alert.Severity has 513": {Name: "a", Severity: strings.Repeat("x", 513)},
		"Alert.Message is":       {Name: "a", Message: "\xff"},
	}
	for want, change := range bad {
		m := raised(1)
		m.Alert = &change
		n, err := db.Record(t.Context(), []store.Message{raised(2), m})
		require.ErrorContains(t, err, want)
		require.IsType(t, &store.RefusedError{}, err)
		require.LessOrEqual(t, n, 1)
		_, err = db.RaiseAlert(t.Context(), store.Alert{Name: change.Name, Fingerprint: change.Fingerprint, Severity: change.Severity, Message: change.Message})
		require.ErrorContains(t, err, want)
		require.False(t, store.IsTransient(err))
	}
	_, err := db.RaiseAlert(t.Context(), store.Alert{Name: "a", RaisedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.ErrorContains(t, err, "At is outside")
	for _, fingerprint := range []string{"", "\x00", strings.Repeat("x", 513)} {
		_, err := db.ResolveAlert(t.Context(), fingerprint, "", time.Time{})
		require.ErrorContains(t, err, "fingerprint")
		_, err = db.AcknowledgeAlert(t.Context(), fingerprint, "")
		require.ErrorContains(t, err, "fingerprint")
	}
	_, err = db.ResolveAlert(t.Context(), "x", "\xff", time.Time{})
	require.ErrorContains(t, err, "the name of who")
	_, err = db.ResolveAlert(t.Context(), "x", "", time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC))
	require.ErrorContains(t, err, "can't be resolved at")

	long := strings.Repeat("ü", store.MaxAlertBytes)
	_, err = db.RaiseAlert(t.Context(), store.Alert{Name: "long", Message: long})
	require.NoError(t, err, "an alert isn't lost for its length")
	require.Equal(t, store.MaxAlertBytes/2, number(t, connect(t, dsn), "SELECT length(message) FROM health_alerts WHERE alert_name = 'long'"))
}

func TestFingerprint_IsUnambiguous(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, names := range [][3]string{{"a", "b", "c"}, {"a/b", "", "c"}, {"a", "b/c", ""}, {"a%2Fb", "", "c"}, {"", "", ""}} {
		f := store.Fingerprint(names[0], names[1], names[2])
		require.False(t, seen[f], f)
		seen[f] = true
	}
	require.Less(t, len(store.Fingerprint(strings.Repeat("x", 512), "", "")), store.MaxNameBytes)
}
