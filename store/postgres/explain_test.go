package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/postgres"
)

const (
	loggedServices = 100
	loggedDays     = 3

	// small is how many rows may be read from end to end: those of a partition whose day has just begun.
	small = 1000
)

// logged is a database with many messages of three days, of services of which each has as many and one has few, with rollups, alerts
// and changes, analyzed. The newest messages aren't rolled up.
func logged(t *testing.T, messages int) (db *postgres.DB, conn *pgx.Conn, now time.Time) {
	t.Helper()
	dsn := testserver.DatabaseURL(t)
	db, conn, now = migrated(t, dsn, postgres.Config{}), connect(t, dsn), time.Now().UTC().Truncate(time.Second)
	const perMinute = 50
	apart := loggedDays * 24 * time.Hour / time.Duration(messages/perMinute)
	msgs := make([]store.Message, messages)
	for i := range msgs {
		m := beat(fmt.Sprint("host-", i%7), int64(i), now.Add(time.Duration((i-messages)/perMinute)*apart+time.Duration(i%perMinute)*time.Second-time.Minute))
		m.Service = fmt.Sprint("service-", i%loggedServices)
		if i%(messages/10) == 17 {
			m.Service = "rare"
		}
		m.Payload = json.RawMessage(fmt.Sprintf(`{"latency_ms":%d,"cache_size":1000,"text":"%s"}`, i%1000, strings.Repeat("x", 100)))
		msgs[i] = m
	}
	pending := messages - 1000
	_, err := db.Record(t.Context(), msgs[:pending])
	require.NoError(t, err)
	require.NoError(t, db.Maintain(t.Context()))
	_, err = db.Record(t.Context(), msgs[pending:])
	require.NoError(t, err)
	execute(t, conn, `INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
		SELECT 'f-' || i % 5000, 'service-' || i % 2 * 7, '', 'a', 'critical', '', $1::timestamptz - i * interval '10 s', $1::timestamptz - i * interval '10 s', 1,
			CASE WHEN i > 50 THEN $1::timestamptz - i * interval '9 s' END
		FROM generate_series(0, 19999) i`, now)
	execute(t, conn, `INSERT INTO uptime_changes SELECT 'service-' || i % 2 * 7, 'host-' || i / 2 % 10, $1::timestamptz - i * interval '10 s',
			(ARRAY['up', 'down'])[1 + i / 20 % 2], '' FROM generate_series(0, 19999) i`, now)
	execute(t, conn, "ANALYZE")
	return db, conn, now
}

// plan is a node of what EXPLAIN says.
type plan struct {
	Node     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Loops    float64 `json:"Actual Loops"`
	Hit      float64 `json:"Shared Hit Blocks"`
	Read     float64 `json:"Shared Read Blocks"`
	Plans    []plan
}

// walk visits a node and all below it that were run.
func (p plan) walk(visit func(plan)) {
	visit(p)
	for _, below := range p.Plans {
		below.walk(visit)
	}
}

// explain runs a question as a prepared statement, with a plan for its arguments or one for any.
func explain(t *testing.T, conn *pgx.Conn, mode string, q postgres.Question) (p plan, text string) {
	t.Helper()
	execute(t, conn, "SET plan_cache_mode = "+mode)
	execute(t, conn, "PREPARE question AS "+q.SQL)
	defer execute(t, conn, "DEALLOCATE question")
	places := make([]string, len(q.Args))
	for i := range places {
		places[i] = fmt.Sprint("$", i+1)
	}
	call := "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE question"
	if len(places) > 0 {
		call += "(" + strings.Join(places, ", ") + ")"
	}
	require.NoError(t, conn.QueryRow(t.Context(), call, append([]any{pgx.QueryExecModeSimpleProtocol}, q.Args...)...).Scan(&text))
	var plans []struct{ Plan plan }
	require.NoError(t, json.Unmarshal([]byte(text), &plans))
	return plans[0].Plan, text
}

// TestDB_EveryQuestionIsServedByAnIndex looks at the plans of all questions: none reads a table that grows from end to end, and none
// reads much more of the log than it answers with.
func TestDB_EveryQuestionIsServedByAnIndex(t *testing.T) {
	t.Parallel()
	messages := testserver.Times(50_000, 1_000_000)
	db, conn, now := logged(t, messages)
	for name, q := range db.Questions(now, "service-7", "rare") {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			p, text := explain(t, conn, mode, q)
			read, others := 0.0, 0.0
			p.walk(func(node plan) {
				for _, growing := range []string{"health_messages", "health_alerts", "health_rollups", "uptime_changes"} {
					if strings.HasPrefix(node.Relation, growing) && node.Rows+node.Removed > small {
						require.NotContains(t, node.Node, "Seq Scan", "%s, %s: %s", name, mode, text)
					}
				}
				switch {
				case strings.HasPrefix(node.Relation, "health_messages"):
					read += (node.Rows + node.Removed) * node.Loops
				case node.Relation == "health_alerts" || node.Relation == "uptime_changes":
					others += (node.Rows + node.Removed) * node.Loops
				}
			})
			require.LessOrEqual(t, others, float64(small), "%s, %s: %s", name, mode, text)
			t.Logf("%-40s %-18s %8.0f rows of the log, %8.0f pages read", name, mode, read, p.Hit+p.Read)
			require.LessOrEqual(t, read, float64(messages)/20, "%s, %s: %s", name, mode, text)
			if strings.HasPrefix(name, "messages") { // an index is read from the right place on, and not from its end
				require.LessOrEqual(t, p.Hit+p.Read, 100.0, "%s, %s: %s", name, mode, text)
			}
		}
	}
}
