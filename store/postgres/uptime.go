package postgres

import (
	"context"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// RecordUptime stores what an observer saw, in one transaction, and returns how many changes were news. It blocks until that is
// committed. Repeating it, in part or in another order, changes nothing. The error is nil, or a [*store.RefusedError] if all
// but the changes it names are stored (their ID is service/instance), or another one, after which a repetition is safe.
func (db *DB) RecordUptime(ctx context.Context, changes []store.UptimeChange) (int, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	times := make([]store.Message, len(changes))
	for i, c := range changes {
		times[i].At = c.At
	}
	window, err := db.windowFor(ctx, times)
	if err != nil {
		return 0, wrap("record uptime", err)
	}
	admitted, refused := rules.AdmitUptime(changes, window)
	news := 0
	err = db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		tag, err := conn.Exec(ctx, db.statements.uptime, uptimeParameters(admitted)...)
		news = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, wrap("record uptime", err)
	}
	return news, rules.AsError(refused)
}

func uptimeParameters(changes []store.UptimeChange) []any {
	return []any{
		column(changes, func(c store.UptimeChange) string { return c.Service }),
		column(changes, func(c store.UptimeChange) string { return c.Instance }),
		column(changes, func(c store.UptimeChange) time.Time { return c.At }),
		column(changes, func(c store.UptimeChange) string { return string(c.State) }),
		column(changes, func(c store.UptimeChange) string { return c.Reason }),
	}
}

// uptimeSQL leans on the order of the states' names: the worse one comes first.
const uptimeSQL = `
INSERT INTO {schema}.uptime_changes AS c (service_name, instance_id, changed_at, state, reason)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[])
ON CONFLICT (service_name, instance_id, changed_at) DO UPDATE SET state = excluded.state, reason = excluded.reason
WHERE excluded.state < c.state`
