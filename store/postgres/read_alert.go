package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Alerts returns a page of episodes of alerts, the last raised first. It blocks until the page is read.
func (db *DB) Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error) {
	q, err := rules.AlertQuery(q)
	if err != nil {
		return store.AlertPage{}, err
	}
	statement, args := db.alertsStatement(q)
	alerts, err := query(ctx, db, scanAlert, statement, args...)
	if err != nil {
		return store.AlertPage{}, wrap("alerts", err)
	}
	return rules.AlertPage(alerts, q.Limit), nil
}

func (db *DB) alertsStatement(q store.AlertQuery) (statement string, args []any) {
	var f rules.Filter
	f.And("raise_count > 0") // the others are not episodes yet
	f.And("raised_at >= ? AND raised_at < ?", q.From, q.To)
	f.And("(raised_at, alert_id) < (?::timestamptz, ?::bigint)", q.After.RaisedAt, q.After.ID)
	if q.Open {
		f.And("resolved_at IS NULL")
	}
	if q.Service != "" {
		f.And("service_name = ?", q.Service)
	}
	if q.Fingerprint != "" {
		f.And("fingerprint = ?", q.Fingerprint)
	}
	if q.Severity != "" {
		f.And("severity = ?", q.Severity)
	}
	statement = selectAlertSQL + f.Where("$") + " ORDER BY raised_at DESC, alert_id DESC LIMIT " + f.Add("$", q.Limit+1)
	return db.in(statement), f.Args
}

const selectAlertSQL = `
SELECT alert_id, fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count,
	acknowledged_at, acknowledged_by, resolved_at, resolved_by
FROM {schema}.health_alerts`

func scanAlert(r pgx.CollectableRow) (a store.Alert, err error) {
	var acknowledged, resolved *time.Time
	err = r.Scan(&a.ID, &a.Fingerprint, &a.Service, &a.Instance, &a.Name, &a.Severity, &a.Message, &a.RaisedAt, &a.LastRaisedAt, &a.Raises,
		&acknowledged, &a.AcknowledgedBy, &resolved, &a.ResolvedBy)
	a.RaisedAt, a.LastRaisedAt = a.RaisedAt.UTC(), a.LastRaisedAt.UTC()
	a.AcknowledgedAt, a.ResolvedAt = orZero(acknowledged), orZero(resolved)
	return a, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
