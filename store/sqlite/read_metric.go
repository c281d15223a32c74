package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	selectRollupSQL = `SELECT minute, samples, minimum, maximum, total, buckets, bucket_counts FROM health_rollups`

	firstPendingSQL = `SELECT min(minute) FROM rollup_pending WHERE minute >= ? AND minute < ?`
)

// Metric returns a metric over time: throughput, or the distribution of a number in the payloads. It blocks until all minutes of
// the range are read, those of one service or of all.
func (db *DB) Metric(ctx context.Context, q store.MetricQuery) (store.MetricSeries, error) {
	q, err := rules.MetricQuery(q, time.Now())
	if err != nil {
		return store.MetricSeries{}, err
	}
	from, to := q.From.UnixMicro(), q.To.UnixMicro()
	var f rules.Filter
	f.And("metric = ? AND minute >= ? AND minute < ?", q.Metric, from, to)
	if q.Service != "" {
		f.And("service_name = ?", q.Service)
	}
	// The other way round, a minute that is rolled up in between would be neither pending nor summed up.
	pending, err := query(ctx, db, scanNull, firstPendingSQL, from, to)
	if err != nil {
		return store.MetricSeries{}, wrap(ctx, "metric", err)
	}
	rollups, err := query(ctx, db, scanRollup, selectRollupSQL+f.Where("?"), f.Args...)
	if err != nil {
		return store.MetricSeries{}, wrap(ctx, "metric", err)
	}
	sums := rules.Series{Query: q}
	for i := range rollups {
		sums.Add(&rollups[i])
	}
	series := store.MetricSeries{Rollups: sums.Rollups(), CompleteTo: q.To}
	if pending[0].Valid {
		series.CompleteTo = time.UnixMicro(pending[0].Int64).UTC()
	}
	return series, nil
}

func scanNull(rows *sql.Rows) (n sql.NullInt64, err error) { return n, rows.Scan(&n) }

func scanRollup(rows *sql.Rows) (r store.Rollup, err error) {
	var minute int64
	var indexes, counts string
	if err := rows.Scan(&minute, &r.Count, &r.Min, &r.Max, &r.Sum, &indexes, &counts); err != nil {
		return r, err
	}
	var i []int16
	var c []int64
	if err := errors.Join(json.Unmarshal([]byte(indexes), &i), json.Unmarshal([]byte(counts), &c)); err != nil {
		return r, err
	}
	if len(i) != len(c) {
		return r, errors.New("health_rollups holds buckets without counts")
	}
	r.Minute = time.UnixMicro(minute).UTC()
	for n := range i {
		r.Buckets = append(r.Buckets, store.Bucket{Index: i[n], Count: c[n]})
	}
	return r, nil
}
