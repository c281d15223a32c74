package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// RecordQueue stores samples; the same queue, worker, shard and time twice is one. A sample whose time lies outside of what retention
// keeps or more than a day ahead, or that can't be stored as given, is named in a [*store.RefusedRowsError], and all others are stored.
// After any other error recording them again is safe.
func (db *DB) RecordQueue(ctx context.Context, samples []store.QueueSample) error {
	if len(samples) == 0 {
		return nil
	}
	admitted, refused := rules.Samples(samples, rules.WindowAt(db.clock.now(), db.cfg.Retention))
	if refused != nil { // by an old idea of the server's time, perhaps
		if err := db.setClock(ctx); err != nil {
			return wrap("record queue", err)
		}
		admitted, refused = rules.Samples(samples, rules.WindowAt(db.clock.now(), db.cfg.Retention))
	}
	if len(admitted) > 0 {
		if err := db.insertSamples(ctx, admitted); err != nil {
			return wrap("record queue", err)
		}
	}
	return refused
}

func (db *DB) insertSamples(ctx context.Context, samples []*store.QueueSample) error {
	parameters := []any{
		column(samples, func(s *store.QueueSample) string { return s.Queue }),
		column(samples, func(s *store.QueueSample) string { return s.Worker }),
		column(samples, func(s *store.QueueSample) int32 { return int32(s.Shard) }),
		column(samples, func(s *store.QueueSample) time.Time { return s.At }),
		column(samples, func(s *store.QueueSample) int32 { return int32(s.Depth) }),
		column(samples, func(s *store.QueueSample) int32 { return int32(s.Active) }),
		column(samples, func(s *store.QueueSample) int64 { return s.Processed }),
		column(samples, func(s *store.QueueSample) int64 { return s.Failed }),
		column(samples, func(s *store.QueueSample) int64 { return s.Refused }),
	}
	days := column(samples, func(s *store.QueueSample) day { return dayOf(s.At) })
	return db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, db.requests.sample, parameters...)
		conn.Release()
		return db.withDays(ctx, metricsTable, err, days...)
	})
}

// QueueSamples returns a page of a queue's samples, newest first. It blocks until the page is read.
func (db *DB) QueueSamples(ctx context.Context, q store.QueueSampleQuery) (store.QueueSamplePage, error) {
	q, err := rules.QueueSampleQuery(q)
	if err != nil {
		return store.QueueSamplePage{}, err
	}
	var samples []store.QueueSample
	err = db.byIndex(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.requests.samples, q.Queue, q.Worker, q.From, q.To, q.After.At, q.After.Worker, q.After.Shard, q.Limit+1).
			Query(collect(&samples, scanSample))
	})
	if err != nil {
		return store.QueueSamplePage{}, wrap("queue samples", err)
	}
	return rules.SamplePage(samples, q.Limit), nil
}

func scanSample(r pgx.CollectableRow) (s store.QueueSample, err error) {
	err = r.Scan(&s.Queue, &s.Worker, &s.Shard, &s.At, &s.Depth, &s.Active, &s.Processed, &s.Failed, &s.Refused)
	s.At = s.At.UTC()
	return s, err
}
