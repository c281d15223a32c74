package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// acceptBytes is what the calls that share a commit may hold together.
const acceptBytes = 8 << 20

const acceptSQL = `
INSERT INTO requests (` + requestColumns + `, accepted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING`

// acceptance is one call of Accept.
type acceptance struct {
	requests []store.Request
	size     int
}

// Accept stores new requests, queued or processing, as owner's, all or none, and returns when they are on disk. known are those
// that were not stored because their ID was there already, as they are stored.
//
// Calls that come while a commit is under way share the next one; a caller whose context ends returns at once, and doesn't know then
// whether its requests are stored. After any error it is safe to accept the same again: what was stored comes back as known, with
// Owner == owner. If a request can't be stored as given, none of the call is, and the error is a [*store.RefusedRowsError] that
// names each.
func (db *DB) Accept(ctx context.Context, owner string, requests []store.Request) (known []store.Request, err error) {
	admitted, err := rules.NewRequests(owner, requests)
	if err != nil || len(admitted) == 0 {
		return nil, err
	}
	known, err = db.accepting.Do(ctx, acceptance{admitted, rules.SizeOf(admitted)})
	return known, wrap(ctx, "accept", err)
}

func (db *DB) groupAccepts() *groupcommit.Group[acceptance, []store.Request] {
	return &groupcommit.Group[acceptance, []store.Request]{
		Run:      db.accept,
		Size:     func(a acceptance) int { return a.size },
		MaxSize:  acceptBytes,
		Parallel: 1, // as SQLite has one writer
		Blames: func(err error) bool {
			return !store.IsTransient(wrap(context.Background(), "accept", err)) && !errors.Is(err, context.Canceled)
		},
	}
}

// accept carries out several calls in one transaction and returns what each of them gets as known.
func (db *DB) accept(ctx context.Context, calls []acceptance) (known [][]store.Request, err error) {
	err = db.write(ctx, func(tx *sql.Tx) error {
		known = make([][]store.Request, len(calls))
		statement, err := tx.PrepareContext(ctx, acceptSQL)
		if err != nil {
			return err
		}
		defer statement.Close()
		now := time.Now().UnixMicro()
		for i := range calls {
			if known[i], err = acceptAll(ctx, tx, statement, calls[i].requests, now); err != nil {
				return err
			}
			now += int64(len(calls[i].requests))
		}
		return nil
	})
	return known, err
}

// acceptAll is of one call. The requests are accepted a microsecond apart, which keeps their order.
func acceptAll(ctx context.Context, tx *sql.Tx, statement *sql.Stmt, requests []store.Request, now int64) (known []store.Request, err error) {
	for i := range requests {
		r := &requests[i]
		values := append([]any{r.Queue, r.ID, r.Owner, r.Key, r.Priority, r.MaxAttempts, orNull(r.Deadline), orNull(r.Created), r.Payload}, outcomeOf(r)...)
		result, err := statement.ExecContext(ctx, append(values, now+int64(i))...)
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			continue
		}
		stored, _, err := one(tx.QueryContext(ctx, requestSQL, r.Queue, r.ID))
		if err != nil {
			return nil, err
		}
		known = append(known, stored)
	}
	return known, nil
}
