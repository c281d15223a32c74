package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// rollupMinutes is how many minutes are rolled up in one transaction: writers wait for it.
const rollupMinutes = 10

const (
	pendingSQL     = `INSERT OR IGNORE INTO rollup_pending VALUES (?)`
	takePendingSQL = `
DELETE FROM rollup_pending WHERE minute IN (SELECT minute FROM rollup_pending WHERE minute > ? ORDER BY minute LIMIT ?)
RETURNING minute`

	minuteSQL = `SELECT service_name, coalesce(payload, '') FROM health_messages WHERE occurred_at >= ? AND occurred_at < ? ORDER BY occurred_at, message_id`
	rollupSQL = `INSERT OR REPLACE INTO health_rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

	// A name that came late can have taken the place of one that is stored.
	trimRollupsSQL = `DELETE FROM health_rollups WHERE service_name = ? AND metric > ? AND minute = ?`

	// By the index, metric by metric.
	deleteRollupsSQL = `
DELETE FROM health_rollups WHERE (service_name, metric, minute) IN (
	SELECT service_name, metric, minute FROM health_rollups
	WHERE metric IN (SELECT DISTINCT metric FROM health_rollups) AND minute < ? LIMIT ?)`
)

// addPending says of the minutes of fresh messages, sorted by key, that they are to be rolled up.
func addPending(ctx context.Context, tx *sql.Tx, fresh []*store.Message) error {
	last := int64(-1)
	for _, m := range fresh {
		if minute := m.At.Truncate(time.Minute).UnixMicro(); minute != last {
			if _, err := tx.ExecContext(ctx, pendingSQL, minute); err != nil {
				return err
			}
			last = minute
		}
	}
	return nil
}

// rollUp makes the rollups of the minutes that were written to since the last time, the oldest first. A run that is cut short
// goes on where it was.
func (db *DB) rollUp(ctx context.Context) error {
	for after := int64(math.MinInt64); ; {
		var minutes []int64
		err := db.write(ctx, func(tx *sql.Tx) (err error) {
			minutes, err = int64s(ctx, tx, takePendingSQL, after, rollupMinutes)
			for i := 0; i < len(minutes) && err == nil; i++ {
				err = rollUpMinute(ctx, tx, minutes[i])
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("roll up: %w", err)
		}
		if len(minutes) < rollupMinutes {
			return nil
		}
		after = slices.Max(minutes) // each minute once: the newest ones are written to all the time
	}
}

func int64s(ctx context.Context, tx *sql.Tx, statement string, args ...any) (all []int64, err error) {
	rows, err := tx.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var one int64
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// rollUpMinute writes a minute's rollups anew.
func rollUpMinute(ctx context.Context, tx *sql.Tx, minute int64) error {
	roller, err := readMinute(ctx, tx, minute)
	if err != nil {
		return err
	}
	statement, err := tx.PrepareContext(ctx, rollupSQL)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, r := range roller.Rollups() {
		indexes, counts := bucketColumns(r.Buckets)
		_, err := statement.ExecContext(ctx, r.Service, r.Metric, minute, r.Count, r.Min, r.Max, r.Sum, indexes, counts)
		if err != nil {
			return err
		}
	}
	for _, crowded := range roller.Crowded() {
		if _, err := tx.ExecContext(ctx, trimRollupsSQL, crowded.Service, crowded.Metric, minute); err != nil {
			return err
		}
	}
	return nil
}

func readMinute(ctx context.Context, tx *sql.Tx, minute int64) (*rules.Roller, error) {
	rows, err := tx.QueryContext(ctx, minuteSQL, minute, minute+time.Minute.Microseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var roller rules.Roller
	var service, payload sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&service, &payload); err != nil {
			return nil, err
		}
		roller.Add(time.UnixMicro(minute), service, payload)
	}
	return &roller, rows.Err()
}

// bucketColumns are JSON arrays.
func bucketColumns(buckets []store.Bucket) (indexes, counts string) {
	i, c := make([]int16, len(buckets)), make([]int64, len(buckets))
	for n, b := range buckets {
		i[n], c[n] = b.Index, b.Count
	}
	return jsonOf(i), jsonOf(c)
}

func jsonOf(numbers any) string {
	encoded, _ := json.Marshal(numbers) // which can't fail
	return string(encoded)
}

const (
	forgetAlertsSQL = `DELETE FROM health_alerts WHERE resolved_at < ?`

	// Of each instance what it is in since before the time that is kept stays, but for those that are gone.
	forgetUptimeSQL = `
DELETE FROM uptime_changes AS c
WHERE changed_at < ?1 AND (state <> 'up' OR EXISTS (
	SELECT 1 FROM uptime_changes AS next
	WHERE next.service_name = c.service_name AND next.instance_id = c.instance_id
		AND next.changed_at > c.changed_at AND next.changed_at <= ?1))`
)

// maintainHealth is the part of Maintain that looks after rollups, alerts and uptime.
func (db *DB) maintainHealth(ctx context.Context) error {
	if err := db.rollUp(ctx); err != nil || db.cfg.Retention < 0 {
		return err
	}
	oldest := rules.WindowAt(time.Now(), db.cfg.Retention).From.UnixMicro()
	for deleted := int64(deleteChunk); deleted == deleteChunk; {
		var err error
		if deleted, err = db.exec(ctx, deleteRollupsSQL, oldest, deleteChunk); err != nil {
			return fmt.Errorf("delete old rollups: %w", err)
		}
	}
	if _, err := db.exec(ctx, forgetAlertsSQL, oldest); err != nil {
		return fmt.Errorf("forget alerts that are over: %w", err)
	}
	if _, err := db.exec(ctx, forgetUptimeSQL, oldest); err != nil {
		return fmt.Errorf("forget uptime that is over: %w", err)
	}
	return nil
}
