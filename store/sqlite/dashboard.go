package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	healthSQL     = `SELECT service_name, instance_id, current_status, last_seen FROM instance_status`
	openAlertsSQL = selectAlertSQL + ` WHERE resolved_at IS NULL ORDER BY raised_at DESC, alert_id DESC LIMIT ?`
	countOpenSQL  = `SELECT count(*) FROM health_alerts WHERE resolved_at IS NULL`

	// throughputSQL counts the whole minutes of a window of ?2 that ends with the minute of ?1, or with the first one that isn't
	// rolled up yet. A minute before the last one that was rolled up is waiting again only for messages that came late.
	throughputSQL = `
WITH w (until) AS (
	SELECT min(?1, coalesce((
		SELECT min(minute) FROM rollup_pending
		WHERE minute >= coalesce((SELECT max(minute) FROM health_rollups WHERE metric = ''), -9e18)), ?1))
)
SELECT until, (SELECT coalesce(sum(samples), 0) FROM health_rollups WHERE metric = '' AND minute >= until - ?2 AND minute < until)
FROM w`
)

// Dashboard returns the state of everything: services, open alerts, throughput, and what deserves an alert. It blocks until that is
// read, which takes neither the log nor what is over. Its Pool is nil: there are no connections to run out of.
func (db *DB) Dashboard(ctx context.Context, q store.DashboardQuery) (store.Dashboard, error) {
	q, err := rules.DashboardQuery(q)
	if err != nil {
		return store.Dashboard{}, err
	}
	d := store.Dashboard{At: time.Now().UTC().Truncate(time.Microsecond), Consumer: q.Consumer, Findings: store.Judge(q.Consumer, nil)}
	instances, err := query(ctx, db, func(rows *sql.Rows) (i rules.Instance, err error) {
		var lastSeen int64
		err = rows.Scan(&i.Service, &i.Instance, &i.Status, &lastSeen)
		i.LastSeen = time.UnixMicro(lastSeen).UTC()
		return i, err
	}, healthSQL)
	if err == nil {
		d.Alerts, err = query(ctx, db, scanAlert, openAlertsSQL, q.Alerts)
	}
	if err == nil {
		err = db.reader.QueryRowContext(ctx, countOpenSQL).Scan(&d.OpenAlerts)
	}
	var until, messages int64
	if err == nil {
		err = db.reader.QueryRowContext(ctx, throughputSQL, d.At.Truncate(time.Minute).UnixMicro(), q.Window.Microseconds()).Scan(&until, &messages)
	}
	if err != nil {
		return store.Dashboard{}, wrap(ctx, "dashboard", err)
	}
	var services rules.Health
	for _, i := range instances {
		services.Add(i.Service, i.Instance, i.Status, i.LastSeen)
	}
	d.Services = services.Services()
	if d.Alerts == nil {
		d.Alerts = []store.Alert{} // a list, also in JSON
	}
	d.Throughput = rules.Measured(q, time.UnixMicro(until), messages)
	return d, nil
}
