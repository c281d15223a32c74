package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Dashboard returns the state of everything: services, open alerts, throughput, and what deserves an alert. It blocks for one round
// trip, and reads neither the log nor what is over.
func (db *DB) Dashboard(ctx context.Context, q store.DashboardQuery) (store.Dashboard, error) {
	q, err := rules.DashboardQuery(q)
	if err != nil {
		return store.Dashboard{}, err
	}
	d := store.Dashboard{At: db.clock.now().UTC().Truncate(time.Microsecond), Consumer: q.Consumer, Pool: db.poolFigures()}
	d.Findings = store.Judge(d.Consumer, d.Pool)
	var services rules.Health
	var to time.Time
	var messages int64
	err = db.queryTogether(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.in(healthSQL)).Query(func(rows pgx.Rows) error { return addInstances(&services, rows) })
		batch.Queue(db.in(openAlertsSQL), q.Alerts).Query(into(&d.Alerts, scanAlert))
		batch.Queue(db.in(countOpenSQL)).QueryRow(func(row pgx.Row) error { return row.Scan(&d.OpenAlerts) })
		batch.Queue(db.in(throughputSQL), d.At, q.Window).QueryRow(func(row pgx.Row) error { return row.Scan(&to, &messages) })
	})
	if err != nil {
		return store.Dashboard{}, wrap("dashboard", err)
	}
	d.Services = services.Services()
	d.Throughput = rules.Measured(q, to, messages)
	return d, nil
}

func (db *DB) poolFigures() *store.PoolFigures {
	s := db.Stats()
	return &store.PoolFigures{PoolSize: s.PoolSize, CheckedOut: s.CheckedOut, CheckedIn: s.CheckedIn, Overflow: s.Overflow, Utilisation: s.Utilisation}
}

func addInstances(services *rules.Health, rows pgx.Rows) error {
	var service, instance, status string
	var lastSeen time.Time
	_, err := pgx.ForEachRow(rows, []any{&service, &instance, &status, &lastSeen}, func() error {
		services.Add(service, instance, status, lastSeen.UTC())
		return nil
	})
	return err
}

const (
	healthSQL = `SELECT service_name, instance_id, current_status, last_seen FROM {schema}.instance_status`

	openAlertsSQL = selectAlertSQL + ` WHERE resolved_at IS NULL ORDER BY raised_at DESC, alert_id DESC LIMIT $1`

	countOpenSQL = `SELECT count(*) FROM {schema}.health_alerts WHERE resolved_at IS NULL`

	// throughputSQL counts the whole minutes of a window of $2 that ends now, or with the first minute that isn't rolled up
	// yet. A minute before the last one that was rolled up is waiting again only for messages that came late.
	throughputSQL = `
WITH last (minute) AS (
	SELECT max(minute) FROM {schema}.health_rollups WHERE metric = ''
), w (until) AS (
	SELECT least(
		date_bin('1 minute', $1::timestamptz, timestamptz 'epoch'),
		(SELECT min(minute) FROM {schema}.rollup_pending WHERE minute >= coalesce((SELECT minute FROM last), '-infinity')))
)
SELECT until, (SELECT coalesce(sum(samples), 0)::bigint FROM {schema}.health_rollups
	WHERE metric = '' AND minute >= until - $2::interval AND minute < until)
FROM w`
)
