package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// RaiseAlert raises an alert, or counts that it is raised again, and reports whether that opened an episode. It takes the
// alert's Service, Instance, Name, Severity, Message, its Fingerprint if it has one, and the time RaisedAt, which is now if it
// is zero. With a time that is fixed it can be repeated: only what is newer counts. A time before the end of an episode
// that is over belongs to that one and opens none.
//
// It blocks until that is on disk. Whatever races, there is at most one open episode per fingerprint.
func (db *DB) RaiseAlert(ctx context.Context, a store.Alert) (opened bool, err error) {
	if a.RaisedAt.IsZero() {
		a.RaisedAt = time.Now()
	}
	window, err := db.windowFor(ctx, []store.Message{{At: a.RaisedAt}})
	if err != nil {
		return false, wrap(ctx, "raise alert", err)
	}
	raised, err := rules.RaisedAlert(a, window)
	if err != nil {
		return false, err
	}
	err = db.write(ctx, func(tx *sql.Tx) (err error) {
		opened, err = raise(ctx, tx, raised, false)
		return err
	})
	return opened && err == nil, wrap(ctx, "raise alert", err)
}

// ResolveAlert ends the open episode of an alert and reports whether there was one. Where it was raised again after at, it
// stays open. A zero time is now. It blocks until that is on disk.
func (db *DB) ResolveAlert(ctx context.Context, fingerprint, by string, at time.Time) (resolved bool, err error) {
	if err := rules.Named(fingerprint, by); err != nil {
		return false, err
	}
	if at.IsZero() {
		at = time.Now()
	}
	window, err := db.windowFor(ctx, []store.Message{{At: at}})
	if err != nil {
		return false, wrap(ctx, "resolve alert", err)
	}
	if !window.Holds(at) {
		return false, fmt.Errorf("store: an alert can't be resolved at %s", at)
	}
	n, err := db.exec(ctx, resolveAlertSQL, fingerprint, at.UnixMicro(), by)
	return n > 0 && err == nil, wrap(ctx, "resolve alert", err)
}

// AcknowledgeAlert says that somebody looks after an alert, and reports whether it is open. The first who says so stays. It
// blocks until that is on disk.
func (db *DB) AcknowledgeAlert(ctx context.Context, fingerprint, by string) (open bool, err error) {
	if err := rules.Named(fingerprint, by); err != nil {
		return false, err
	}
	n, err := db.exec(ctx, acknowledgeAlertSQL, fingerprint, by, time.Now().UnixMicro())
	return n > 0 && err == nil, wrap(ctx, "acknowledge alert", err)
}

// changeAlerts applies what fresh messages, sorted by key, say about alerts.
func changeAlerts(ctx context.Context, tx *sql.Tx, fresh []*store.Message) error {
	for _, m := range fresh {
		if m.Alert == nil {
			continue
		}
		a := rules.AlertOf(m)
		if !a.Resolved {
			if _, err := raise(ctx, tx, a, true); err != nil {
				return err
			}
			continue
		}
		at := a.At.UnixMicro()
		if _, err := tx.ExecContext(ctx, resolveAlertSQL, a.Fingerprint, at, ""); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, dropTombstonesSQL, a.Fingerprint, at); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, addTombstoneSQL, a.Fingerprint, at, a.Service, a.Instance, a.Name, a.Severity, a.Message); err != nil {
			return err
		}
	}
	return nil
}

// raise reports whether it opened an episode. always says that an older time counts, too: that of a message counts once anyway.
func raise(ctx context.Context, tx *sql.Tx, a rules.Alert, always bool) (opened bool, err error) {
	result, err := tx.ExecContext(ctx, raiseAgainSQL, a.Fingerprint, a.At.UnixMicro(), a.Severity, a.Message, always)
	if err != nil {
		return false, err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return false, err
	}
	_, err = tx.ExecContext(ctx, openAlertSQL, a.Fingerprint, a.At.UnixMicro(), a.Service, a.Instance, a.Name, a.Severity, a.Message)
	return err == nil, err
}

// raiseAgainSQL finds the episode that a time belongs to: the first one that ended after it, or the open one.
const raiseAgainSQL = `
UPDATE health_alerts SET
	raised_at = min(raised_at, ?2),
	last_raised_at = CASE WHEN raise_count = 0 THEN ?2 ELSE max(last_raised_at, ?2) END,
	raise_count = raise_count + CASE WHEN ?5 OR raise_count = 0 OR ?2 > last_raised_at THEN 1 ELSE 0 END,
	severity = CASE WHEN raise_count = 0 OR ?2 >= last_raised_at THEN ?3 ELSE severity END,
	message = CASE WHEN raise_count = 0 OR ?2 >= last_raised_at THEN ?4 ELSE message END
WHERE alert_id = (
	SELECT alert_id FROM health_alerts
	WHERE fingerprint = ?1 AND (resolved_at IS NULL OR resolved_at > ?2)
	ORDER BY resolved_at NULLS LAST
	LIMIT 1)`

const (
	openAlertSQL = `
INSERT INTO health_alerts (fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count)
VALUES (?1, ?3, ?4, ?5, ?6, ?7, ?2, ?2, 1)`

	resolveAlertSQL = `
UPDATE health_alerts SET resolved_at = ?2, resolved_by = ?3
WHERE fingerprint = ?1 AND resolved_at IS NULL AND last_raised_at <= ?2`

	acknowledgeAlertSQL = `
UPDATE health_alerts SET
	acknowledged_by = CASE WHEN acknowledged_at IS NULL THEN ?2 ELSE acknowledged_by END,
	acknowledged_at = coalesce(acknowledged_at, ?3)
WHERE fingerprint = ?1 AND resolved_at IS NULL`

	// A tombstone is a resolution that ended no episode, as its raise is still under way. Only the newest one of an alert
	// matters.
	dropTombstonesSQL = `DELETE FROM health_alerts WHERE fingerprint = ?1 AND raise_count = 0 AND resolved_at < ?2`

	addTombstoneSQL = `
INSERT INTO health_alerts
	(fingerprint, service_name, instance_id, alert_name, severity, message, raised_at, last_raised_at, raise_count, resolved_at)
SELECT ?1, ?3, ?4, ?5, ?6, ?7, ?2, ?2, 0, ?2
WHERE NOT EXISTS (SELECT 1 FROM health_alerts WHERE fingerprint = ?1 AND (resolved_at IS NULL OR resolved_at >= ?2))`
)
