package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Request returns one request; found is false for an unknown ID, and for one that retention has forgotten.
func (db *DB) Request(ctx context.Context, queue, id string) (r store.Request, found bool, err error) {
	if err := rules.RequestKey(queue, id); err != nil {
		return r, false, err
	}
	stored, err := db.lookUp(ctx, []*store.Request{{Queue: queue, ID: id}})
	if one := stored[rules.Key{Queue: queue, ID: id}]; one != nil {
		return *one, true, nil
	}
	return r, false, wrap("request", err)
}

// Requests returns a page of requests, newest first. It blocks until the page is read.
func (db *DB) Requests(ctx context.Context, q store.RequestQuery) (store.RequestPage, error) {
	q, err := rules.RequestQuery(q)
	if err != nil {
		return store.RequestPage{}, err
	}
	statement := db.requests.pageAll
	switch q.Status {
	case store.RequestQueued, store.RequestProcessing:
		statement = db.requests.pageOpen
	case store.RequestCompleted:
		statement = db.requests.pageDone
	case store.RequestFailed, store.RequestCancelled:
		statement = db.requests.pageFailed
	}
	var placed []rules.Placed
	err = db.byIndex(ctx, func(batch *pgx.Batch) {
		batch.Queue(statement, q.From, q.To, q.After.At, q.After.Queue, q.After.ID, q.Queue, q.Status, q.Key, q.Worker, q.Limit+1).
			Query(collect(&placed, scanPlaced))
	})
	if err != nil {
		return store.RequestPage{}, wrap("requests", err)
	}
	return rules.RequestPage(placed, q.Limit), nil
}

// RequestStats returns the statistics of one queue, or of all. It reads all that finished in the range, from an index: about a
// second for a million requests; and counts what is unfinished now.
func (db *DB) RequestStats(ctx context.Context, q store.RequestStatsQuery) (store.RequestStats, error) {
	q, err := rules.RequestStats(q, db.clock.now())
	if err != nil {
		return store.RequestStats{}, err
	}
	s := store.RequestStats{From: q.From, To: q.To}
	var wait, run []time.Duration
	err = db.byIndex(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.requests.stats, q.From, q.To, q.Queue).QueryRow(func(row pgx.Row) error {
			return row.Scan(&s.Completed, &s.Failed, &s.Cancelled, &s.Wait.Mean, &wait, &s.Run.Mean, &run)
		})
		batch.Queue(db.requests.waiting, q.Queue).QueryRow(func(row pgx.Row) error { return row.Scan(&s.Queued, &s.Processing) })
	})
	if err != nil {
		return store.RequestStats{}, wrap("request stats", err)
	}
	for d, percentiles := range map[*store.Duration][]time.Duration{&s.Wait: wait, &s.Run: run} {
		d.P50, d.P95, d.P99, d.Max = percentiles[0], percentiles[1], percentiles[2], percentiles[3]
	}
	s.Throughput = rules.Throughput(&s)
	return s, nil
}
