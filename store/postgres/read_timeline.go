package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
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
		return store.Timeline{}, wrap("timeline", err)
	}
	of := [4][]store.Event{rules.MessageEvents(messages)} // by kind
	err = db.queryTogether(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.in(stateChangesSQL), q.Service, q.From, q.To, after.State.At, after.State.ID, q.Limit+1).Query(into(&of[1], stateEvent))
		batch.Queue(db.in(raisedSQL), q.Service, q.From, q.To, after.Raised.At, after.RaisedID, q.Limit+1).Query(into(&of[2], raisedEvent))
		batch.Queue(db.in(resolvedSQL), q.Service, q.From, q.To, after.Resolved.At, after.ResolvedID, q.Limit+1).Query(into(&of[3], resolvedEvent))
	})
	if err != nil {
		return store.Timeline{}, wrap("timeline", err)
	}
	return rules.Timeline(q.Limit, of[:]...), nil
}

const (
	// A change that says again what was known is none.
	stateChangesSQL = `
SELECT service_name, instance_id, changed_at, state, reason
FROM {schema}.uptime_changes c
WHERE service_name = $1 AND changed_at >= $2 AND changed_at < $3 AND (changed_at, instance_id) < ($4::timestamptz, $5::text)
	AND state IS DISTINCT FROM (
		SELECT state FROM {schema}.uptime_changes
		WHERE service_name = $1 AND instance_id = c.instance_id AND changed_at < c.changed_at
		ORDER BY changed_at DESC
		LIMIT 1)
ORDER BY changed_at DESC, instance_id DESC
LIMIT $6`

	raisedSQL = selectAlertSQL + `
WHERE service_name = $1 AND raised_at >= $2 AND raised_at < $3 AND (raised_at, alert_id) < ($4::timestamptz, $5::bigint) AND raise_count > 0
ORDER BY raised_at DESC, alert_id DESC
LIMIT $6`

	resolvedSQL = selectAlertSQL + `
WHERE service_name = $1 AND resolved_at >= $2 AND resolved_at < $3 AND (resolved_at, alert_id) < ($4::timestamptz, $5::bigint) AND raise_count > 0
ORDER BY resolved_at DESC, alert_id DESC
LIMIT $6`
)

func stateEvent(r pgx.CollectableRow) (store.Event, error) {
	c, err := scanChange(r)
	return store.Event{At: c.At, Kind: store.EventState, State: &c}, err
}

func raisedEvent(r pgx.CollectableRow) (store.Event, error) {
	a, err := scanAlert(r)
	return store.Event{At: a.RaisedAt, Kind: store.EventRaised, Alert: &a}, err
}

func resolvedEvent(r pgx.CollectableRow) (store.Event, error) {
	a, err := scanAlert(r)
	return store.Event{At: a.ResolvedAt, Kind: store.EventResolved, Alert: &a}, err
}
