package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

// TestDB_LastPageCostsWhatTheFirstDoes reads pages at both ends of 200,000 rows: a page that reads over those before it takes
// thirty times as long and more, and is allowed ten.
func TestDB_LastPageCostsWhatTheFirstDoes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path, sqlite.Config{})
	ctx := t.Context()
	require.NoError(t, db.Migrate(ctx))
	const rows = 200_000
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	from := fmt.Sprintf("FROM (WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n, %d + n AS at FROM s)", rows-1, start.UnixMicro())
	other := connect(t, path)
	for _, insert := range []string{
		"INSERT INTO health_messages SELECT at, n, at, '', 's', 'i', n, '', NULL ",
		"INSERT INTO requests (queue, id, owner, accepted_at, key, priority, status, worker, attempts, processing_time) SELECT 'q', n, 'o', at, '', 0, 'queued', '', 0, 0 ",
		"INSERT INTO requests (queue, id, owner, accepted_at, finished_at, key, priority, status, worker, attempts, processing_time) SELECT 'r', n, 'o', at, at, '', 0, 'failed', '', 0, 0 ",
		"INSERT INTO queue_metrics SELECT 'q', at, 'w', 0, 0, 0, 0, 0, 0 ",
		"INSERT INTO uptime_changes (service_name, instance_id, changed_at, state, reason) SELECT 's', n, at, 'up', '' ",
		`INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
			SELECT n, 's', '', 'a', '', '', at, at, 1, at `,
	} {
		execute(t, other, insert+from)
	}
	for name, page := range map[string]func(after time.Time) (int, error){
		"messages": func(after time.Time) (int, error) {
			p, err := db.Messages(ctx, store.MessageQuery{After: &store.Cursor{At: after}})
			return len(p.Messages), err
		},
		"alerts": func(after time.Time) (int, error) {
			p, err := db.Alerts(ctx, store.AlertQuery{After: &store.AlertCursor{RaisedAt: after}})
			return len(p.Alerts), err
		},
		"open requests": func(after time.Time) (int, error) {
			p, err := db.Requests(ctx, store.RequestQuery{Status: store.RequestQueued, After: &store.RequestCursor{At: after}})
			return len(p.Requests), err
		},
		"failed requests": func(after time.Time) (int, error) {
			p, err := db.Requests(ctx, store.RequestQuery{Status: store.RequestFailed, After: &store.RequestCursor{At: after}})
			return len(p.Requests), err
		},
		"samples": func(after time.Time) (int, error) {
			p, err := db.QueueSamples(ctx, store.QueueSampleQuery{Queue: "q", After: &store.QueueSampleCursor{At: after}})
			return len(p.Samples), err
		},
		"timeline": func(after time.Time) (int, error) {
			p, err := db.Timeline(ctx, store.TimelineQuery{Service: "s", After: &store.TimelineCursor{At: after, Kind: store.EventMessage}})
			return len(p.Events), err
		},
	} {
		first := leastOf(t, func() (int, error) { return page(start.Add(time.Hour)) })
		last := leastOf(t, func() (int, error) { return page(start.Add(150 * time.Microsecond)) })
		t.Logf("%-16s first page %s, last %s", name, first, last)
		require.Less(t, last, 10*first, name)
	}
}

// leastOf is the least time of some calls that give full pages.
func leastOf(t *testing.T, page func() (int, error)) time.Duration {
	t.Helper()
	least := time.Hour
	for range 7 {
		start := time.Now()
		n, err := page()
		least = min(least, time.Since(start))
		require.NoError(t, err)
		require.Equal(t, 100, n)
	}
	return least
}
