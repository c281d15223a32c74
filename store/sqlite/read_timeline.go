package sqlite

import (
	"context"
	"database/sql"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	// A change that says again what was known is none.
	stateChangesSQL = `
SELECT service_name, instance_id, changed_at, state, reason
FROM uptime_changes AS c
WHERE service_name = ?1 AND changed_at >= ?2 AND (changed_at, instance_id) < (?3, ?4)
	AND state IS NOT (
		SELECT state FROM uptime_changes
		WHERE service_name = ?1 AND instance_id = c.instance_id AND changed_at < c.changed_at
		ORDER BY changed_at DESC
		LIMIT 1)
ORDER BY changed_at DESC, instance_id DESC
LIMIT ?5`

	raisedSQL = selectAlertSQL + `
WHERE service_name = ?1 AND raised_at >= ?2 AND (raised_at, alert_id) < (?3, ?4) AND raise_count > 0
ORDER BY raised_at DESC, alert_id DESC
LIMIT ?5`

	resolvedSQL = selectAlertSQL + `
WHERE service_name = ?1 AND resolved_at >= ?2 AND (resolved_at, alert_id) < (?3, ?4) AND raise_count > 0
ORDER BY resolved_at DESC, alert_id DESC
LIMIT ?5`
)

// Timeline returns a page of what happened to a service, newest first: messages, changes of state, alerts. Pages are complete;
// what comes in while they are read is seen if it belongs behind the cursor. It blocks until the page is read.
func (db *DB) Timeline(ctx context.Context, q store.TimelineQuery) (store.Timeline, error) {
	q, after, err := rules.TimelineQuery(q)
	if err != nil {
		return store.Timeline{}, err
	}
	messages, err := db.serviceMessages(ctx, store.MessageQuery{Service: q.Service, From: q.From, To: q.To, Limit: q.Limit, After: &after.Message})
	if err != nil {
		return store.Timeline{}, wrap(ctx, "timeline", err)
	}
	from, limit := q.From.UnixMicro(), q.Limit+1
	of := [4][]store.Event{rules.MessageEvents(messages)} // by kind
	for i, c := range []struct {
		statement string
		scan      func(*sql.Rows) (store.Event, error)
		args      []any
	}{
		{stateChangesSQL, stateEvent, []any{q.Service, from, after.State.At.UnixMicro(), after.State.ID, limit}},
		{raisedSQL, raisedEvent, []any{q.Service, from, after.Raised.At.UnixMicro(), after.RaisedID, limit}},
		{resolvedSQL, resolvedEvent, []any{q.Service, from, after.Resolved.At.UnixMicro(), after.ResolvedID, limit}},
	} {
		if of[i+1], err = query(ctx, db, c.scan, c.statement, c.args...); err != nil {
			return store.Timeline{}, wrap(ctx, "timeline", err)
		}
	}
	return rules.Timeline(q.Limit, of[:]...), nil
}

func stateEvent(rows *sql.Rows) (store.Event, error) {
	c, err := scanChange(rows)
	return store.Event{At: c.At, Kind: store.EventState, State: &c}, err
}

func raisedEvent(rows *sql.Rows) (store.Event, error) {
	a, err := scanAlert(rows)
	return store.Event{At: a.RaisedAt, Kind: store.EventRaised, Alert: &a}, err
}

func resolvedEvent(rows *sql.Rows) (store.Event, error) {
	a, err := scanAlert(rows)
	return store.Event{At: a.ResolvedAt, Kind: store.EventResolved, Alert: &a}, err
}
