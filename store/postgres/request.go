package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Hold gets or renews owner's lease on a queue for d from now, 1ms to 24h: while it lasts, Unfinished hands what owner has accepted to
// nobody else. lapsed says that it had run out before: others may have taken requests over in the meantime. Names follow the rules of
// a [store.Request]'s.
func (db *DB) Hold(ctx context.Context, queue, owner string, d time.Duration) (lapsed bool, err error) {
	if err := rules.Lease(queue, owner, d); err != nil {
		return false, err
	}
	err = db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		return conn.QueryRow(ctx, db.requests.hold, queue, owner, d.Microseconds()).Scan(&lapsed)
	})
	return lapsed, wrap("hold", err)
}

// Release ends owner's lease: what it has not finished is free for others at once.
func (db *DB) Release(ctx context.Context, queue, owner string) error {
	if err := rules.OwnerOf(queue, owner); err != nil {
		return err
	}
	return wrap("release", db.exec(ctx, db.requests.release, queue, owner))
}

// exec runs one statement that can be repeated.
func (db *DB) exec(ctx context.Context, statement string, args ...any) error {
	return db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		_, err = conn.Exec(ctx, statement, args...)
		return err
	})
}

var errNoLease = errors.New("the owner has no lease that holds: call Hold first")

// Unfinished hands over to owner, which needs a lease, up to limit unfinished requests of the queue whose owners have none that
// holds, oldest accepted first. Two callers never get the same one. After an error, the next call for the same queue and owner also
// gives what this one may have handed over, beyond its limit.
func (db *DB) Unfinished(ctx context.Context, queue, owner string, limit int) ([]store.Request, error) {
	if err := rules.OwnerOf(queue, owner); err != nil {
		return nil, err
	}
	var holds bool
	var taken []rules.Placed
	call := rand.Int64()
	lost, done := db.handovers.calls(queue, owner)
	err := db.retry(ctx, func() error {
		taken = nil
		return db.byIndex(ctx, func(batch *pgx.Batch) {
			batch.Queue(db.requests.unfinished, queue, owner, max(0, limit), call).Query(collect(&taken, scanPlaced))
			if len(lost) > 0 {
				batch.Queue(db.requests.again, queue, owner, call, lost).Query(collect(&taken, scanPlaced))
			}
			batch.Queue(db.requests.holds, queue, owner).QueryRow(func(row pgx.Row) error { return row.Scan(&holds) })
		})
	})
	if err != nil {
		db.handovers.fail(queue, owner, call)
		return nil, wrap("unfinished", err)
	}
	done()
	if !holds && len(taken) == 0 {
		return nil, wrap("unfinished", errNoLease)
	}
	slices.SortFunc(taken, func(a, b rules.Placed) int { return a.At.Compare(b.At) })
	requests := make([]store.Request, len(taken))
	for i := range taken {
		requests[i] = taken[i].Request
	}
	return requests, nil
}

// Transition writes the newest state of requests that owner holds and that are not finished: status, worker, attempts, times, steps,
// result and error. superseded are the IDs of those that owner doesn't hold, and of those that are finished with another status, result
// or error; these are not touched. Repeating a call is safe.
//
// If a request can't be stored as given, nothing is, and the error is a [*store.RefusedRowsError] that names each. Of an ID that
// comes twice, the first that is finished counts, else the last.
func (db *DB) Transition(ctx context.Context, owner string, requests []store.Request) (superseded []string, err error) {
	sorted, err := rules.Transitions(owner, requests)
	if err != nil {
		return nil, err
	}
	for chunk := range rules.RequestChunks(sorted, maxRows, maxBytes) {
		lost, err := db.transition(ctx, owner, chunk)
		if err != nil {
			return nil, wrap("transition", err)
		}
		superseded = append(superseded, lost...)
	}
	db.superseded.Add(int64(len(superseded)))
	return superseded, nil
}

func (db *DB) transition(ctx context.Context, owner string, requests []*store.Request) (superseded []string, err error) {
	var advancing, finishing []*store.Request
	for _, r := range requests {
		if rules.Finished(r.Status) {
			finishing = append(finishing, r)
		} else {
			advancing = append(advancing, r)
		}
	}
	var done []rules.Key
	err = db.retry(ctx, func() error {
		done = nil
		err := db.byIndex(ctx, func(batch *pgx.Batch) {
			if len(advancing) > 0 {
				batch.Queue(db.requests.advance, outcomeParameters(owner, advancing)...).Query(collect(&done, scanKey))
			}
			if len(finishing) > 0 {
				batch.Queue(db.requests.finish, outcomeParameters(owner, finishing)...).Query(collect(&done, scanKey))
			}
		})
		return db.withToday(ctx, finishedTable, err)
	})
	if err != nil || len(done) == len(requests) {
		return nil, err
	}
	return db.superseding(ctx, owner, requests, done)
}

// superseding tells which of the requests that were not moved somebody else has, or has finished otherwise. It can look later: an
// owner that was told so stays superseded, and nothing changes a finished request.
func (db *DB) superseding(ctx context.Context, owner string, requests []*store.Request, done []rules.Key) ([]string, error) {
	moved := make(map[rules.Key]bool, len(requests))
	for _, key := range done {
		moved[key] = true
	}
	left := slices.DeleteFunc(slices.Clone(requests), func(r *store.Request) bool { return moved[rules.KeyOf(r)] })
	stored, err := db.lookUp(ctx, left)
	if err != nil {
		return nil, err
	}
	var superseded []string
	for _, r := range left {
		if s := stored[rules.KeyOf(r)]; s == nil || s.Owner != owner || !rules.SameOutcome(s, r) {
			superseded = append(superseded, r.ID)
		}
	}
	return superseded, nil
}

// lookUp reads the requests with the same keys.
func (db *DB) lookUp(ctx context.Context, requests []*store.Request) (map[rules.Key]*store.Request, error) {
	var all []store.Request
	err := db.retry(ctx, func() error {
		all = nil
		return db.byIndex(ctx, func(batch *pgx.Batch) {
			batch.Queue(db.requests.lookUp, column(requests, queueOf), column(requests, idOf)).Query(collect(&all, scanRequest))
		})
	})
	if err != nil {
		return nil, err
	}
	byKey := make(map[rules.Key]*store.Request, len(all))
	for i := range all {
		byKey[rules.KeyOf(&all[i])] = &all[i]
	}
	return byKey, nil
}

// byIndexSQL keeps the planner from reading whole tables. They are empty at one moment and full at the next, and a plan that was made
// for a table that was empty is kept.
const byIndexSQL = "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"

// byIndex runs statements in one transaction and one round trip. Each sees what was committed before it began, whatever the server's
// default is.
func (db *DB) byIndex(ctx context.Context, queue func(*pgx.Batch)) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // closes a connection whose transaction was left open by an error
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	batch.Queue(byIndexSQL)
	queue(batch)
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, batch).Close()
}

// collect appends the rows of a statement in a batch to all. What an earlier try has left there is dropped by the caller.
func collect[T any](all *[]T, scan pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		some, err := pgx.CollectRows(rows, scan)
		*all = append(*all, some...)
		return err
	}
}

func scanKey(r pgx.CollectableRow) (key rules.Key, err error) {
	err = r.Scan(&key.Queue, &key.ID)
	return key, err
}

func scanRequest(r pgx.CollectableRow) (store.Request, error) { return scan(r) }

func scanPlaced(r pgx.CollectableRow) (p rules.Placed, err error) {
	p.Request, err = scan(r, &p.At)
	p.At = p.At.UTC()
	return p, err
}

// scan reads requestColumns, behind those that go to first.
func scan(row pgx.CollectableRow, first ...any) (r store.Request, err error) {
	var steps, message *string
	times := [...]*time.Time{&r.Deadline, &r.Created, &r.Queued, &r.Started, &r.Completed}
	var read [len(times)]*time.Time
	err = row.Scan(append(first, &r.Queue, &r.ID, &r.Owner, &r.Key, &r.Priority, &r.MaxAttempts, &read[0], &read[1], &r.Payload,
		&r.Status, &r.Worker, &r.Attempts, &read[2], &read[3], &read[4], &r.Processing, &steps, &r.Result, &message)...)
	if err != nil {
		return r, err
	}
	for i, t := range read {
		if t != nil {
			*times[i] = t.UTC()
		}
	}
	if message != nil {
		r.Error = *message
	}
	if steps != nil {
		if r.Steps, err = rules.ParseSteps(*steps); err != nil {
			return r, fmt.Errorf("request %q of queue %q: %w", r.ID, r.Queue, err)
		}
	}
	return r, nil
}

// outcomeParameters are owner and the arrays that outcomes names.
func outcomeParameters(owner any, requests []*store.Request) []any {
	at := func(field func(*store.Request) time.Time) []*time.Time {
		return column(requests, func(r *store.Request) *time.Time { return orNull(field(r)) })
	}
	return []any{
		owner,
		column(requests, queueOf),
		column(requests, idOf),
		column(requests, func(r *store.Request) string { return r.Status }),
		column(requests, func(r *store.Request) string { return r.Worker }),
		column(requests, func(r *store.Request) int32 { return int32(r.Attempts) }),
		at(func(r *store.Request) time.Time { return r.Queued }),
		at(func(r *store.Request) time.Time { return r.Started }),
		at(func(r *store.Request) time.Time { return r.Completed }),
		column(requests, func(r *store.Request) int64 { return int64(r.Processing) }),
		column(requests, rules.Steps),
		column(requests, func(r *store.Request) []byte { return r.Result }),
		column(requests, func(r *store.Request) string { return r.Error }),
	}
}

func queueOf(r *store.Request) string { return r.Queue }
func idOf(r *store.Request) string    { return r.ID }

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
