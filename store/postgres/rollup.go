package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// rollupMinutes is how many minutes are rolled up in one transaction.
const rollupMinutes = 10

// rollUp makes the rollups of the minutes that were written to since the last time, the oldest first. What is done is committed
// every so often: a run that is cut short goes on where it was. Where another process is at it, this one leaves it to that.
func (db *DB) rollUp(ctx context.Context) error {
	for after := (time.Time{}); ; {
		var last time.Time
		err := db.retry(ctx, func() (err error) {
			if err := db.ensureRollups(ctx, after); err != nil {
				return err
			}
			last, err = db.rollUpSome(ctx, after)
			return err
		})
		if err != nil {
			return fmt.Errorf("roll up: %w", err)
		}
		if last.IsZero() {
			return nil
		}
		after = last // each minute once: the newest ones are written to all the time
	}
}

// ensureRollups makes the partitions that the next minutes need; a minute that the log doesn't hold any more needs none.
func (db *DB) ensureRollups(ctx context.Context, after time.Time) error {
	days, err := query(ctx, db, pgx.RowTo[time.Time], db.statements.pendingDays, after, db.window().From, rollupMinutes)
	if err != nil {
		return err
	}
	return db.rollups.ensure(ctx, db, column(days, dayOf))
}

// rollUpSome rolls up the next minutes and returns the last of them, or zero if there are none. It first takes away the rows that
// say which are pending: what those stand for is committed, so reading the log afterwards finds it. Writers that commit
// meanwhile leave rows of their own, for the next time.
func (db *DB) rollUpSome(ctx context.Context, after time.Time) (last time.Time, err error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return last, err
	}
	defer conn.Release()
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		var mine bool
		err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtextextended('upbeat rollups ' || $1::text, 0))", db.cfg.Schema).Scan(&mine)
		if err != nil || !mine {
			return err
		}
		rows, err := tx.Query(ctx, db.statements.takePending, after, rollupMinutes)
		if err != nil {
			return err
		}
		minutes, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
		if err != nil || len(minutes) == 0 {
			return err
		}
		oldest := db.window().From
		for _, minute := range minutes {
			if minute.Before(oldest) {
				continue // its partition is about to be dropped, or was
			}
			if err := db.rollUpMinute(ctx, tx, minute); err != nil {
				return err
			}
		}
		last = minutes[len(minutes)-1]
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return last, nil
}

// rollUpMinute writes a minute's rollups anew.
func (db *DB) rollUpMinute(ctx context.Context, tx pgx.Tx, minute time.Time) error {
	rows, err := tx.Query(ctx, db.statements.minute, minute, minute.Add(time.Minute))
	if err != nil {
		return err
	}
	var roller rules.Roller
	for rows.Next() {
		values := rows.RawValues() // texts, which are the same in all of the protocol's formats
		roller.Add(minute, values[0], values[1])
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return err
	}
	rollups := roller.Rollups()
	if len(rollups) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, db.statements.rollup, rollupParameters(minute, rollups)...); err != nil {
		return err
	}
	for _, crowded := range roller.Crowded() { // a name that came late can have taken the place of one that is stored
		if _, err := tx.Exec(ctx, db.statements.trimRollups, crowded.Service, crowded.Metric, minute); err != nil {
			return err
		}
	}
	return nil
}

func rollupParameters(minute time.Time, rollups []store.Rollup) []any {
	return []any{
		minute,
		column(rollups, func(r store.Rollup) string { return r.Service }),
		column(rollups, func(r store.Rollup) string { return r.Metric }),
		column(rollups, func(r store.Rollup) int64 { return r.Count }),
		column(rollups, func(r store.Rollup) float64 { return r.Min }),
		column(rollups, func(r store.Rollup) float64 { return r.Max }),
		column(rollups, func(r store.Rollup) float64 { return r.Sum }),
		column(rollups, func(r store.Rollup) string {
			return arrayOf(r.Buckets, func(b store.Bucket) int64 { return int64(b.Index) })
		}),
		column(rollups, func(r store.Rollup) string {
			return arrayOf(r.Buckets, func(b store.Bucket) int64 { return b.Count })
		}),
	}
}

// arrayOf is an array of numbers as a text: unnest takes no arrays of arrays of unequal lengths.
func arrayOf(buckets []store.Bucket, number func(store.Bucket) int64) string {
	b := []byte{'{'}
	for i, bucket := range buckets {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, number(bucket), 10)
	}
	return string(append(b, '}'))
}

const pendingDaysSQL = `
SELECT DISTINCT date_bin('1 day', minute, timestamptz 'epoch')
FROM (SELECT DISTINCT minute FROM {schema}.rollup_pending WHERE minute > $1 AND minute >= $2 ORDER BY minute LIMIT $3) next
ORDER BY 1`

const takePendingSQL = `
WITH taken AS (
	DELETE FROM {schema}.rollup_pending
	WHERE minute IN (SELECT DISTINCT minute FROM {schema}.rollup_pending WHERE minute > $1 ORDER BY minute LIMIT $2)
	RETURNING minute
)
SELECT DISTINCT minute FROM taken ORDER BY minute`

const minuteSQL = `
SELECT service_name, payload FROM {schema}.health_messages
WHERE occurred_at >= $1 AND occurred_at < $2
ORDER BY occurred_at, message_id`

const rollupSQL = `
INSERT INTO {schema}.health_rollups AS r
	(minute, service_name, metric, samples, minimum, maximum, total, buckets, bucket_counts)
SELECT $1, service_name, metric, samples, minimum, maximum, total, buckets::smallint[], bucket_counts::bigint[]
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::float8[], $6::float8[], $7::float8[], $8::text[], $9::text[])
	AS n (service_name, metric, samples, minimum, maximum, total, buckets, bucket_counts)
ON CONFLICT (service_name, metric, minute) DO UPDATE SET
	samples = excluded.samples,
	minimum = excluded.minimum,
	maximum = excluded.maximum,
	total = excluded.total,
	buckets = excluded.buckets,
	bucket_counts = excluded.bucket_counts
WHERE (r.samples, r.minimum, r.maximum, r.total, r.buckets, r.bucket_counts)
	IS DISTINCT FROM (excluded.samples, excluded.minimum, excluded.maximum, excluded.total, excluded.buckets, excluded.bucket_counts)`

const trimRollupsSQL = `DELETE FROM {schema}.health_rollups WHERE service_name = $1 AND metric > $2 AND minute = $3`
