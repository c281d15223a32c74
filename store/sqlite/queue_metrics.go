package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	sampleSQL = `
INSERT INTO queue_metrics (queue, sampled_at, worker, shard, depth, active, processed, failed, refused)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING`

	samplesSQL = `
SELECT queue, sampled_at, worker, shard, depth, active, processed, failed, refused
FROM queue_metrics
WHERE queue = ?1 AND (?2 = '' OR worker = ?2) AND sampled_at >= ?3 AND (sampled_at, worker, shard) < (?4, ?5, ?6)
ORDER BY sampled_at DESC, worker DESC, shard DESC
LIMIT ?7`
)

// RecordQueue stores samples; the same queue, worker, shard and time twice is one. A sample whose time lies outside of what retention
// keeps or more than a day ahead, or that can't be stored as given, is named in a [*store.RefusedRowsError], and all others are stored.
// After any other error recording them again is safe.
func (db *DB) RecordQueue(ctx context.Context, samples []store.QueueSample) error {
	if len(samples) == 0 {
		return nil
	}
	admitted, refused := rules.Samples(samples, rules.WindowAt(time.Now(), db.cfg.Retention))
	if len(admitted) == 0 {
		return refused
	}
	err := db.write(ctx, func(tx *sql.Tx) error {
		statement, err := tx.PrepareContext(ctx, sampleSQL)
		if err != nil {
			return err
		}
		defer statement.Close()
		for _, s := range admitted {
			_, err := statement.ExecContext(ctx, s.Queue, s.At.UnixMicro(), s.Worker, s.Shard, s.Depth, s.Active, s.Processed, s.Failed, s.Refused)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return wrap(ctx, "record queue", err)
	}
	return refused
}

// QueueSamples returns a page of a queue's samples, newest first. It blocks until the page is read.
func (db *DB) QueueSamples(ctx context.Context, q store.QueueSampleQuery) (store.QueueSamplePage, error) {
	q, err := rules.QueueSampleQuery(q)
	if err != nil {
		return store.QueueSamplePage{}, err
	}
	samples, err := query(ctx, db, func(rows *sql.Rows) (s store.QueueSample, err error) {
		var at int64
		err = rows.Scan(&s.Queue, &at, &s.Worker, &s.Shard, &s.Depth, &s.Active, &s.Processed, &s.Failed, &s.Refused)
		s.At = time.UnixMicro(at).UTC()
		return s, err
	}, samplesSQL, q.Queue, q.Worker, q.From.UnixMicro(), q.After.At.UnixMicro(), q.After.Worker, q.After.Shard, q.Limit+1)
	if err != nil {
		return store.QueueSamplePage{}, wrap(ctx, "queue samples", err)
	}
	return rules.SamplePage(samples, q.Limit), nil
}
