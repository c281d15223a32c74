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

// BenchmarkDB_Page reads pages at both ends of 200,000 rows. If the last one read over those before it, it would take thirty times
// as long as the first.
func BenchmarkDB_Page(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	db := openAt(b, path, sqlite.Config{})
	ctx := b.Context()
	require.NoError(b, db.Migrate(ctx))
	const rows = 200_000
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	from := fmt.Sprintf("FROM (WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n, %d + n AS at FROM s)", rows-1, start.UnixMicro())
	other := connect(b, path)
	for _, insert := range []string{
		"INSERT INTO health_messages SELECT at, n, at, '', 's', 'i', n, '', NULL ",
		"INSERT INTO requests (queue, id, owner, accepted_at, key, priority, status, worker, attempts, processing_time) SELECT 'q', n, 'o', at, '', 0, 'queued', '', 0, 0 ",
		"INSERT INTO requests (queue, id, owner, accepted_at, finished_at, key, priority, status, worker, attempts, processing_time) SELECT 'r', n, 'o', at, at, '', 0, 'failed', '', 0, 0 ",
		"INSERT INTO queue_metrics SELECT 'q', at, 'w', 0, 0, 0, 0, 0, 0 ",
		"INSERT INTO uptime_changes (service_name, instance_id, changed_at, state, reason) SELECT 's', n, at, 'up', '' ",
		`INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
			SELECT n, 's', '', 'a', '', '', at, at, 1, at `,
	} {
		execute(b, other, insert+from)
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
		for end, after := range map[string]time.Time{"first": start.Add(time.Hour), "last": start.Add(150 * time.Microsecond)} {
			b.Run(name+"/"+end, func(b *testing.B) {
				for b.Loop() {
					n, err := page(after)
					require.NoError(b, err)
					require.Equal(b, 100, n)
				}
			})
		}
	}
}
