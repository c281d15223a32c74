package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	outcomeColumns = "status, worker, attempts, queued_at, started_at, completed_at, processing_time, step_results, final_result, error"

	// requestColumns are read by scanRequest.
	requestColumns = "queue, id, owner, key, priority, max_attempts, deadline, created_at, payload, " + outcomeColumns

	holdsSQL   = `SELECT expires_at FROM queue_owners WHERE queue = ? AND owner = ?`
	releaseSQL = `DELETE FROM queue_owners WHERE queue = ? AND owner = ?`
	holdSQL    = `
INSERT INTO queue_owners (queue, owner, expires_at) VALUES (?, ?, ?)
ON CONFLICT (queue, owner) DO UPDATE SET expires_at = excluded.expires_at`

	// unfinishedSQL goes from owner to owner by the index: what those who are alive hold, which is most of what is
	// unfinished, is not read.
	unfinishedSQL = `
WITH RECURSIVE owners (owner) AS (
	SELECT min(owner) FROM requests WHERE queue = ?1 AND finished_at IS NULL
	UNION ALL
	SELECT (SELECT min(r.owner) FROM requests AS r WHERE r.queue = ?1 AND r.finished_at IS NULL AND r.owner > owners.owner)
	FROM owners WHERE owners.owner IS NOT NULL
)
UPDATE requests SET owner = ?2
WHERE place IN (
	SELECT place FROM requests
	WHERE queue = ?1 AND finished_at IS NULL AND owner IN (
		SELECT owner FROM owners WHERE owner <> ?2
		EXCEPT SELECT owner FROM queue_owners WHERE queue = ?1 AND expires_at > ?3)
	ORDER BY place LIMIT ?4)
RETURNING ` + requestColumns + `, place`

	transitionSQL = `
UPDATE requests SET (` + outcomeColumns + `, finished_at) = (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
WHERE queue = ?1 AND id = ?2 AND owner = ?14 AND finished_at IS NULL`

	requestSQL = `SELECT ` + requestColumns + ` FROM requests WHERE queue = ? AND id = ?`
)

// Hold gets or renews owner's lease on a queue for d from now, 1ms to 24h: while it lasts, Unfinished hands what owner has accepted to
// nobody else. lapsed says that it had run out before: others may have taken requests over in the meantime. Names follow the rules of
// a [store.Request]'s.
func (db *DB) Hold(ctx context.Context, queue, owner string, d time.Duration) (lapsed bool, err error) {
	if err := rules.Lease(queue, owner, d); err != nil {
		return false, err
	}
	err = db.write(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		expires, known, err := leaseOf(ctx, tx, queue, owner)
		if err != nil {
			return err
		}
		lapsed = known && expires <= now.UnixMicro()
		_, err = tx.ExecContext(ctx, holdSQL, queue, owner, now.Add(d).UnixMicro())
		return err
	})
	return lapsed, wrap(ctx, "hold", err)
}

func leaseOf(ctx context.Context, tx *sql.Tx, queue, owner string) (expires int64, known bool, err error) {
	err = tx.QueryRowContext(ctx, holdsSQL, queue, owner).Scan(&expires)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return expires, err == nil, err
}

// Release ends owner's lease: what it has not finished is free for others at once.
func (db *DB) Release(ctx context.Context, queue, owner string) error {
	if err := rules.OwnerOf(queue, owner); err != nil {
		return err
	}
	_, err := db.exec(ctx, releaseSQL, queue, owner)
	return wrap(ctx, "release", err)
}

var errNoLease = errors.New("the owner has no lease that holds: call Hold first")

// Unfinished hands over to owner, which needs a lease, up to limit unfinished requests of the queue whose owners have none that
// holds, oldest accepted first. Two callers never get the same one.
func (db *DB) Unfinished(ctx context.Context, queue, owner string, limit int) ([]store.Request, error) {
	if err := rules.OwnerOf(queue, owner); err != nil {
		return nil, err
	}
	type placed struct {
		place int64
		store.Request
	}
	var taken []placed
	err := db.write(ctx, func(tx *sql.Tx) error {
		now := time.Now().UnixMicro()
		if expires, _, err := leaseOf(ctx, tx, queue, owner); err != nil {
			return err
		} else if expires <= now {
			return errNoLease
		}
		rows, err := tx.QueryContext(ctx, unfinishedSQL, queue, owner, now, max(0, limit))
		if err != nil {
			return err
		}
		taken, err = collect(rows, func(rows *sql.Rows) (p placed, err error) {
			p.Request, err = scan(rows, &p.place)
			return p, err
		})
		return err
	})
	if err != nil {
		return nil, wrap(ctx, "unfinished", err)
	}
	slices.SortFunc(taken, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
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
	if err != nil || len(sorted) == 0 {
		return nil, err
	}
	err = db.write(ctx, func(tx *sql.Tx) error {
		superseded, err = transition(ctx, tx, owner, sorted)
		return err
	})
	if err != nil {
		return nil, wrap(ctx, "transition", err)
	}
	return superseded, nil
}

func transition(ctx context.Context, tx *sql.Tx, owner string, requests []*store.Request) (superseded []string, err error) {
	statement, err := tx.PrepareContext(ctx, transitionSQL)
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	now := time.Now().UnixMicro()
	for _, r := range requests {
		var finishedAt any
		if rules.Finished(r.Status) {
			finishedAt = now
		}
		result, err := statement.ExecContext(ctx, append(append([]any{r.Queue, r.ID}, outcomeOf(r)...), finishedAt, owner)...)
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			continue
		}
		stored, found, err := one(tx.QueryContext(ctx, requestSQL, r.Queue, r.ID))
		if err != nil {
			return nil, err
		}
		if !found || stored.Owner != owner || !rules.SameOutcome(&stored, r) {
			superseded = append(superseded, r.ID)
		}
	}
	return superseded, nil
}

// outcomeOf are the values of outcomeColumns.
func outcomeOf(r *store.Request) []any {
	return []any{
		r.Status, r.Worker, r.Attempts, orNull(r.Queued), orNull(r.Started), orNull(r.Completed), int64(r.Processing),
		sql.NullString{String: rules.Steps(r), Valid: len(r.Steps) > 0},
		r.Result,
		sql.NullString{String: r.Error, Valid: r.Error != ""},
	}
}

func orNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// one reads at most one request.
func one(rows *sql.Rows, err error) (r store.Request, found bool, _ error) {
	if err != nil {
		return r, false, err
	}
	all, err := collect(rows, scanRequest)
	if err != nil || len(all) == 0 {
		return r, false, err
	}
	return all[0], true, nil
}

func scanRequest(rows *sql.Rows) (store.Request, error) { return scan(rows) }

// scan reads requestColumns, before those that go to last.
func scan(rows *sql.Rows, last ...any) (r store.Request, err error) {
	var steps, message sql.NullString
	times := [...]*time.Time{&r.Deadline, &r.Created, &r.Queued, &r.Started, &r.Completed}
	var read [len(times)]sql.NullInt64
	err = rows.Scan(append([]any{
		&r.Queue, &r.ID, &r.Owner, &r.Key, &r.Priority, &r.MaxAttempts, &read[0], &read[1], &r.Payload,
		&r.Status, &r.Worker, &r.Attempts, &read[2], &read[3], &read[4], &r.Processing, &steps, &r.Result, &message,
	}, last...)...)
	if err != nil {
		return r, err
	}
	for i, t := range read {
		if t.Valid {
			*times[i] = time.UnixMicro(t.Int64).UTC()
		}
	}
	r.Error = message.String
	if r.Steps, err = rules.ParseSteps(steps.String); err != nil {
		return r, fmt.Errorf("request %q of queue %q: %w", r.ID, r.Queue, err)
	}
	return r, nil
}
