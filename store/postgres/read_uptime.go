package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Uptime returns how long a service and each of its instances were up in a window. It blocks until that is read.
func (db *DB) Uptime(ctx context.Context, q store.UptimeQuery) (store.ServiceUptime, error) {
	q, err := rules.UptimeQuery(q, db.clock.now())
	if err != nil {
		return store.ServiceUptime{}, err
	}
	changes, err := query(ctx, db, scanChange, db.in(uptimeWindowSQL), q.Service, q.From, q.To)
	if err != nil {
		return store.ServiceUptime{}, wrap("uptime", err)
	}
	return rules.UptimeOf(q, changes), nil
}

// uptimeWindowSQL goes from instance to instance by the key, and reads of each the last change before the window and those in it,
// however long its history is.
const uptimeWindowSQL = `
WITH RECURSIVE instances (name) AS (
	SELECT min(instance_id) FROM {schema}.uptime_changes WHERE service_name = $1
	UNION ALL
	SELECT (SELECT min(c.instance_id) FROM {schema}.uptime_changes c WHERE c.service_name = $1 AND c.instance_id > name)
	FROM instances WHERE name IS NOT NULL
)
SELECT c.*
FROM instances CROSS JOIN LATERAL (
	(SELECT service_name, instance_id, changed_at, state, reason FROM {schema}.uptime_changes
	WHERE service_name = $1 AND instance_id = name AND changed_at <= $2
	ORDER BY changed_at DESC
	LIMIT 1)
	UNION ALL
	SELECT service_name, instance_id, changed_at, state, reason FROM {schema}.uptime_changes
	WHERE service_name = $1 AND instance_id = name AND changed_at > $2 AND changed_at < $3
) c
ORDER BY instance_id, changed_at`

func scanChange(r pgx.CollectableRow) (c store.UptimeChange, err error) {
	err = r.Scan(&c.Service, &c.Instance, &c.At, &c.State, &c.Reason)
	c.At = c.At.UTC()
	return c, err
}
