package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Metric returns a metric over time: throughput, or the distribution of a number in the payloads. It blocks until all minutes of
// the range are read, those of one service or of all.
func (db *DB) Metric(ctx context.Context, q store.MetricQuery) (store.MetricSeries, error) {
	q, err := rules.MetricQuery(q, db.clock.now())
	if err != nil {
		return store.MetricSeries{}, err
	}
	statement, args := db.rollupsStatement(q)
	sums := rules.Series{Query: q}
	series := store.MetricSeries{CompleteTo: q.To}
	err = db.queryTogether(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.in(firstPendingSQL), q.From, q.To).QueryRow(func(row pgx.Row) error {
			var pending *time.Time
			if err := row.Scan(&pending); err != nil || pending == nil {
				return err
			}
			series.CompleteTo = pending.UTC()
			return nil
		})
		// The other way round, a minute that is rolled up in between would be neither pending nor summed up.
		batch.Queue(statement, args...).Query(func(rows pgx.Rows) error { return addRollups(&sums, rows) })
	})
	if err != nil {
		return store.MetricSeries{}, wrap("metric", err)
	}
	series.Rollups = sums.Rollups()
	return series, nil
}

func (db *DB) rollupsStatement(q store.MetricQuery) (statement string, args []any) {
	var f rules.Filter
	f.And("metric = ? AND minute >= ? AND minute < ?", q.Metric, q.From, q.To)
	if q.Service != "" {
		f.And("service_name = ?", q.Service)
	}
	return db.in(selectRollupSQL + f.Where("$")), f.Args
}

const (
	selectRollupSQL = `SELECT minute, samples, minimum, maximum, total, buckets, bucket_counts FROM {schema}.health_rollups`

	firstPendingSQL = `SELECT min(minute) FROM {schema}.rollup_pending WHERE minute >= $1 AND minute < $2`
)

func addRollups(sums *rules.Series, rows pgx.Rows) error {
	var r store.Rollup
	var indexes []int16
	var counts []int64
	_, err := pgx.ForEachRow(rows, []any{&r.Minute, &r.Count, &r.Min, &r.Max, &r.Sum, &indexes, &counts}, func() error {
		r.Buckets = r.Buckets[:0]
		for i, index := range indexes {
			r.Buckets = append(r.Buckets, store.Bucket{Index: index, Count: counts[i]})
		}
		sums.Add(&r)
		return nil
	})
	return err
}
