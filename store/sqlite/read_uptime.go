package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// uptimeWindowSQL goes from instance to instance by the key, and reads of each the last change before the window and those in it,
// however long its history is.
const uptimeWindowSQL = `
WITH RECURSIVE instances (name) AS (
	SELECT min(instance_id) FROM uptime_changes WHERE service_name = ?1
	UNION ALL
	SELECT (SELECT min(c.instance_id) FROM uptime_changes AS c WHERE c.service_name = ?1 AND c.instance_id > name)
	FROM instances WHERE name IS NOT NULL
)
SELECT service_name, instance_id, changed_at, state, reason
FROM instances CROSS JOIN uptime_changes AS c
WHERE service_name = ?1 AND instance_id = name AND changed_at < ?3 AND changed_at >= coalesce((
	SELECT max(changed_at) FROM uptime_changes AS p
	WHERE p.service_name = ?1 AND p.instance_id = name AND p.changed_at <= ?2), ?2)
ORDER BY instance_id, changed_at`

// Uptime returns how long a service and each of its instances were up in a window. It blocks until that is read.
func (db *DB) Uptime(ctx context.Context, q store.UptimeQuery) (store.ServiceUptime, error) {
	q, err := rules.UptimeQuery(q, time.Now())
	if err != nil {
		return store.ServiceUptime{}, err
	}
	changes, err := query(ctx, db, scanChange, uptimeWindowSQL, q.Service, q.From.UnixMicro(), q.To.UnixMicro())
	if err != nil {
		return store.ServiceUptime{}, wrap(ctx, "uptime", err)
	}
	return rules.UptimeOf(q, changes), nil
}

func scanChange(rows *sql.Rows) (c store.UptimeChange, err error) {
	var at int64
	err = rows.Scan(&c.Service, &c.Instance, &at, &c.State, &c.Reason)
	c.At = time.UnixMicro(at).UTC()
	return c, err
}
