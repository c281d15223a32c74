package postgres

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// RaiseAlert raises an alert, or counts that it is raised again, and reports whether that opened an episode. It takes the
// alert's Service, Instance, Name, Severity, Message, its Fingerprint if it has one, and the time RaisedAt, which is now by the
// server's clock if it is zero. With a time that is fixed it can be repeated: only what is newer counts. A time before
// the end of an episode that is over belongs to that one and opens none.
//
// It blocks until that is committed. Whatever races, there is at most one open episode per fingerprint.
func (db *DB) RaiseAlert(ctx context.Context, a store.Alert) (opened bool, err error) {
	a.RaisedAt = orNow(a.RaisedAt, db)
	window, err := db.windowFor(ctx, []store.Message{{At: a.RaisedAt}})
	if err != nil {
		return false, wrap("raise alert", err)
	}
	raised, err := rules.RaisedAlert(a, window)
	if err != nil {
		return false, err
	}
	err = db.changeAlert(ctx, raised.Fingerprint, func(batch *pgx.Batch) {
		db.queueRaise(batch, raised, false).Query(func(rows pgx.Rows) error {
			opened = rows.Next()
			rows.Close()
			return rows.Err()
		})
	})
	return opened, wrap("raise alert", err)
}

// ResolveAlert ends the open episode of an alert and reports whether there was one. Where it was raised again after at, it
// stays open. A zero time is now by the server's clock. It blocks until that is committed.
func (db *DB) ResolveAlert(ctx context.Context, fingerprint, by string, at time.Time) (resolved bool, err error) {
	if err := rules.Named(fingerprint, by); err != nil {
		return false, err
	}
	at = orNow(at, db)
	window, err := db.windowFor(ctx, []store.Message{{At: at}})
	if err != nil {
		return false, wrap("resolve alert", err)
	}
	if !window.Holds(at) {
		return false, fmt.Errorf("store: an alert can't be resolved at %s", at)
	}
	err = db.changeAlert(ctx, fingerprint, func(batch *pgx.Batch) {
		batch.Queue(db.statements.alerts.resolve, fingerprint, at, by).Exec(changed(&resolved))
	})
	return resolved, wrap("resolve alert", err)
}

// AcknowledgeAlert says that somebody looks after an alert, and reports whether it is open. The first who says so stays. It
// blocks until that is committed.
func (db *DB) AcknowledgeAlert(ctx context.Context, fingerprint, by string) (open bool, err error) {
	if err := rules.Named(fingerprint, by); err != nil {
		return false, err
	}
	err = db.changeAlert(ctx, fingerprint, func(batch *pgx.Batch) {
		batch.Queue(db.statements.alerts.acknowledge, fingerprint, by).Exec(changed(&open))
	})
	return open, wrap("acknowledge alert", err)
}

func orNow(t time.Time, db *DB) time.Time {
	if t.IsZero() {
		return db.clock.now()
	}
	return t
}

// changeAlert runs what queue queues in a transaction that no other one of the same alert runs beside.
func (db *DB) changeAlert(ctx context.Context, fingerprint string, queue func(*pgx.Batch)) error {
	return db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		batch := &pgx.Batch{}
		batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
		db.lockAlerts(batch, []rules.Alert{{Fingerprint: fingerprint}})
		queue(batch)
		batch.Queue("COMMIT")
		err = conn.SendBatch(ctx, batch).Close()
		if err != nil && !conn.Conn().IsClosed() {
			_, _ = conn.Exec(ctx, "ROLLBACK")
		}
		return err
	})
}

func anyAlerts(msgs []*store.Message) bool {
	return slices.ContainsFunc(msgs, func(m *store.Message) bool { return m.Alert != nil })
}

// transitionsOf are those of the fresh messages, or of all if fresh is nil, in the order of time.
func transitionsOf(msgs []*store.Message, fresh []bool) []rules.Alert {
	var all []rules.Alert
	for i, m := range msgs {
		if m.Alert != nil && (fresh == nil || fresh[i]) {
			all = append(all, rules.AlertOf(m))
		}
	}
	return all
}

// queueAlerts makes each transition of messages that are fresh take effect.
func (db *DB) queueAlerts(batch *pgx.Batch, all []rules.Alert) {
	if len(all) == 0 {
		return
	}
	db.lockAlerts(batch, all)
	for _, a := range all {
		if !a.Resolved {
			db.queueRaise(batch, a, true)
			continue
		}
		batch.Queue(db.statements.alerts.resolve, a.Fingerprint, a.At, "")
		batch.Queue(db.statements.alerts.dropTombstones, a.Fingerprint, a.At)
		batch.Queue(db.statements.alerts.addTombstone, a.Fingerprint, a.At, a.Service, a.Instance, a.Name, a.Severity, a.Message)
	}
}

func (db *DB) queueRaise(batch *pgx.Batch, a rules.Alert, always bool) *pgx.QueuedQuery {
	return batch.Queue(db.statements.alerts.raise, a.Fingerprint, a.At, a.Service, a.Instance, a.Name, a.Severity, a.Message, always)
}

// lockAlerts waits until no other transaction changes the same alerts: what a transition does depends on the episodes that
// are there. The locks are of so many kinds only, as the server has room for a few thousand, and taken in one order.
func (db *DB) lockAlerts(batch *pgx.Batch, all []rules.Alert) {
	const kinds = 64
	var locks []int64
	for _, a := range all {
		h := fnv.New32a()
		_, _ = h.Write([]byte(a.Fingerprint))
		locks = append(locks, int64(h.Sum32()%kinds))
	}
	slices.Sort(locks)
	batch.Queue(db.statements.alerts.lock, db.cfg.Schema, slices.Compact(locks))
}

type alertStatements struct {
	lock, raise, resolve, acknowledge, dropTombstones, addTombstone string
}

const alertLockSQL = `SELECT pg_advisory_xact_lock(hashtextextended('upbeat alerts ' || $1::text, kind)) FROM unnest($2::bigint[]) kind`

// raiseAlertSQL finds the episode that a time belongs to: the first one that ended after it, or the open one. It returns a row
// if there is none, so that it opened one. $8 says that an older time counts, too: that of a message counts once anyway.
const raiseAlertSQL = `
WITH episode AS (
	SELECT alert_id FROM {schema}.health_alerts
	WHERE fingerprint = $1 AND (resolved_at IS NULL OR resolved_at > $2)
	ORDER BY resolved_at
	LIMIT 1
), again AS (
	UPDATE {schema}.health_alerts a SET
		raised_at = least(raised_at, $2),
		last_raised_at = CASE WHEN raise_count = 0 THEN $2 ELSE greatest(last_raised_at, $2) END,
		raise_count = raise_count + CASE WHEN $8::boolean OR raise_count = 0 OR $2 > last_raised_at THEN 1 ELSE 0 END,
		severity = CASE WHEN raise_count = 0 OR $2 >= last_raised_at THEN $6 ELSE severity END,
		message = CASE WHEN raise_count = 0 OR $2 >= last_raised_at THEN $7 ELSE message END
	FROM episode
	WHERE a.alert_id = episode.alert_id
)
INSERT INTO {schema}.health_alerts
	(fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count)
SELECT $1, $3, $4, $5, $6, $7, $2::timestamptz, $2::timestamptz, 1
WHERE NOT EXISTS (SELECT FROM episode)
ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO NOTHING
RETURNING alert_id`

const resolveAlertSQL = `
UPDATE {schema}.health_alerts SET resolved_at = $2, resolved_by = $3
WHERE fingerprint = $1 AND resolved_at IS NULL AND last_raised_at <= $2`

const acknowledgeAlertSQL = `
UPDATE {schema}.health_alerts SET
	acknowledged_by = CASE WHEN acknowledged_at IS NULL THEN $2 ELSE acknowledged_by END,
	acknowledged_at = coalesce(acknowledged_at, clock_timestamp())
WHERE fingerprint = $1 AND resolved_at IS NULL`

// A tombstone is a resolution that ended no episode, as its raise is still under way. It is an episode that was never raised. Only the
// newest one of an alert matters.
const (
	dropTombstonesSQL = `DELETE FROM {schema}.health_alerts WHERE fingerprint = $1 AND raise_count = 0 AND resolved_at < $2`

	addTombstoneSQL = `
INSERT INTO {schema}.health_alerts
	(fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
SELECT $1, $3, $4, $5, $6, $7, $2::timestamptz, $2::timestamptz, 0, $2::timestamptz
WHERE NOT EXISTS (SELECT FROM {schema}.health_alerts WHERE fingerprint = $1 AND (resolved_at IS NULL OR resolved_at >= $2))`
)

func changed(row *bool) func(tag pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error { *row = tag.RowsAffected() > 0; return nil }
}
