package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Alerts returns a page of episodes of alerts, the last raised first. It blocks until the page is read.
func (db *DB) Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error) {
	q, err := rules.AlertQuery(q)
	if err != nil {
		return store.AlertPage{}, err
	}
	var f rules.Filter
	f.And("raise_count > 0") // the others are not episodes yet
	f.And("raised_at >= ?", q.From.UnixMicro())
	f.And("(raised_at, alert_id) < (?, ?)", q.After.RaisedAt.UnixMicro(), q.After.ID)
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
	alerts, err := query(ctx, db, scanAlert,
		selectAlertSQL+f.Where("?")+" ORDER BY raised_at DESC, alert_id DESC LIMIT "+f.Add("?", q.Limit+1), f.Args...)
	if err != nil {
		return store.AlertPage{}, wrap(ctx, "alerts", err)
	}
	return rules.AlertPage(alerts, q.Limit), nil
}

const selectAlertSQL = `
SELECT alert_id, fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count,
	acknowledged_at, acknowledged_by, resolved_at, resolved_by
FROM health_alerts`

func scanAlert(rows *sql.Rows) (a store.Alert, err error) {
	var raised, last int64
	var acknowledged, resolved sql.NullInt64
	err = rows.Scan(&a.ID, &a.Fingerprint, &a.Service, &a.Instance, &a.Name, &a.Severity, &a.Message, &raised, &last, &a.Raises,
		&acknowledged, &a.AcknowledgedBy, &resolved, &a.ResolvedBy)
	a.RaisedAt, a.LastRaisedAt = time.UnixMicro(raised).UTC(), time.UnixMicro(last).UTC()
	a.AcknowledgedAt, a.ResolvedAt = orZero(acknowledged), orZero(resolved)
	return a, err
}

func orZero(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return time.UnixMicro(micros.Int64).UTC()
}
