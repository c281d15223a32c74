package sqlite

import (
	"context"
	"database/sql"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// RecordUptime stores what an observer saw, in one transaction, and returns how many changes were news. It blocks until that is
// on disk. Repeating it, in part or in another order, changes nothing. The error is nil, or a [*store.RefusedError] if all
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
		return 0, wrap(ctx, "record uptime", err)
	}
	admitted, refused := rules.AdmitUptime(changes, window)
	news := int64(0)
	err = db.write(ctx, func(tx *sql.Tx) error {
		news = 0
		for _, c := range admitted {
			result, err := tx.ExecContext(ctx, uptimeSQL, c.Service, c.Instance, c.At.UnixMicro(), string(c.State), c.Reason)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			news += n
		}
		return nil
	})
	if err != nil {
		return 0, wrap(ctx, "record uptime", err)
	}
	return int(news), rules.AsError(refused)
}

// uptimeSQL leans on the order of the states' names: the worse one comes first.
const uptimeSQL = `
INSERT INTO uptime_changes AS c (service_name, instance_id, changed_at, state, reason) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (service_name, instance_id, changed_at) DO UPDATE SET state = excluded.state, reason = excluded.reason
WHERE excluded.state < c.state`
