package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	chosenSQL = `(?5 = '' OR queue = ?5) AND (?6 = '' OR status = ?6) AND (?7 = '' OR key = ?7) AND (?8 = '' OR worker = ?8)`

	openPageSQL = `SELECT * FROM (
	SELECT ` + requestColumns + `, accepted_at AS at FROM requests
	WHERE finished_at IS NULL AND accepted_at >= ?1 AND (accepted_at, queue, id) < (?2, ?3, ?4) AND ` + chosenSQL + `
	ORDER BY accepted_at DESC, queue DESC, id DESC LIMIT ?9)`

	// The index is named: SQLite can't know how few go wrong.
	donePageSQL      = finishedSQL + "requests_finished" + finishedWhereSQL
	troublePageSQL   = finishedSQL + "requests_trouble" + finishedWhereSQL + " AND status <> 'completed'"
	finishedSQL      = `SELECT * FROM (SELECT ` + requestColumns + `, finished_at AS at FROM requests INDEXED BY `
	finishedWhereSQL = `
	WHERE finished_at IS NOT NULL AND finished_at >= ?1 AND (finished_at, queue, id) < (?2, ?3, ?4) AND ` + chosenSQL

	pageOrderSQL = ` ORDER BY finished_at DESC, queue DESC, id DESC LIMIT ?9)`
	lastSQL      = ` ORDER BY at DESC, queue DESC, id DESC LIMIT ?9`

	requestStatsSQL = `
SELECT status, (started_at - coalesce(queued_at, created_at)) * 1000, CASE WHEN started_at IS NOT NULL THEN processing_time END
FROM requests WHERE finished_at IS NOT NULL AND finished_at >= ?1 AND finished_at < ?2 AND (?3 = '' OR queue = ?3)`

	waitingSQL = `
SELECT coalesce(sum(status = 'queued'), 0), coalesce(sum(status = 'processing'), 0)
FROM requests WHERE finished_at IS NULL AND (?1 = '' OR queue = ?1)`
)

// Request returns one request; found is false for an unknown ID, and for one that retention has forgotten.
func (db *DB) Request(ctx context.Context, queue, id string) (r store.Request, found bool, err error) {
	if err := rules.RequestKey(queue, id); err != nil {
		return r, false, err
	}
	rows, err := query(ctx, db, scanRequest, requestSQL, queue, id)
	if err != nil || len(rows) == 0 {
		return r, false, wrap(ctx, "request", err)
	}
	return rows[0], true, nil
}

// Requests returns a page of requests, newest first. It blocks until the page is read.
func (db *DB) Requests(ctx context.Context, q store.RequestQuery) (store.RequestPage, error) {
	q, err := rules.RequestQuery(q)
	if err != nil {
		return store.RequestPage{}, err
	}
	statement := openPageSQL + " UNION ALL " + donePageSQL + pageOrderSQL + lastSQL
	switch q.Status {
	case store.RequestQueued, store.RequestProcessing:
		statement = openPageSQL + lastSQL
	case store.RequestCompleted:
		statement = donePageSQL + pageOrderSQL + lastSQL
	case store.RequestFailed, store.RequestCancelled:
		statement = troublePageSQL + pageOrderSQL + lastSQL
	}
	placed, err := query(ctx, db, func(rows *sql.Rows) (p rules.Placed, err error) {
		var at int64
		p.Request, err = scan(rows, &at)
		p.At = time.UnixMicro(at).UTC()
		return p, err
	}, statement, q.From.UnixMicro(), q.After.At.UnixMicro(), q.After.Queue, q.After.ID,
		q.Queue, q.Status, q.Key, q.Worker, q.Limit+1)
	if err != nil {
		return store.RequestPage{}, wrap(ctx, "requests", err)
	}
	return rules.RequestPage(placed, q.Limit), nil
}

// RequestStats returns the statistics of one queue, or of all. It reads all that finished in the range, from an index, and holds two
// numbers of each in memory; and it counts what is unfinished now.
func (db *DB) RequestStats(ctx context.Context, q store.RequestStatsQuery) (store.RequestStats, error) {
	q, err := rules.RequestStats(q, time.Now())
	if err != nil {
		return store.RequestStats{}, err
	}
	s := store.RequestStats{From: q.From, To: q.To}
	var waits, runs []time.Duration
	err = retry(ctx, func() error {
		waits, runs = nil, nil
		s.Completed, s.Failed, s.Cancelled = 0, 0, 0
		return db.readStats(ctx, q, &s, &waits, &runs)
	})
	if err != nil {
		return store.RequestStats{}, wrap(ctx, "request stats", err)
	}
	s.Wait, s.Run = durationOf(waits), durationOf(runs)
	s.Throughput = rules.Throughput(&s)
	return s, nil
}

func (db *DB) readStats(ctx context.Context, q store.RequestStatsQuery, s *store.RequestStats, waits, runs *[]time.Duration) error {
	if err := db.reader.QueryRowContext(ctx, waitingSQL, q.Queue).Scan(&s.Queued, &s.Processing); err != nil {
		return err
	}
	rows, err := db.reader.QueryContext(ctx, requestStatsSQL, q.From.UnixMicro(), q.To.UnixMicro(), q.Queue)
	if err != nil {
		return err
	}
	defer rows.Close()
	counts := map[string]*int64{store.RequestCompleted: &s.Completed, store.RequestFailed: &s.Failed, store.RequestCancelled: &s.Cancelled}
	for rows.Next() {
		var status sql.RawBytes
		var wait, run sql.NullInt64
		if err := rows.Scan(&status, &wait, &run); err != nil {
			return err
		}
		*counts[string(status)]++
		if wait.Valid {
			*waits = append(*waits, time.Duration(wait.Int64))
		}
		if run.Valid {
			*runs = append(*runs, time.Duration(run.Int64))
		}
	}
	return rows.Err()
}

func durationOf(all []time.Duration) store.Duration {
	if len(all) == 0 {
		return store.Duration{}
	}
	slices.Sort(all)
	sum := 0.0
	for _, d := range all {
		sum += float64(d)
	}
	at := func(percent int) time.Duration { return all[max(0, (len(all)*percent+99)/100-1)] }
	return store.Duration{Mean: time.Duration(sum / float64(len(all))), P50: at(50), P95: at(95), P99: at(99), Max: all[len(all)-1]}
}
