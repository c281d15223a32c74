package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	// acceptParallel is how many commits of Accept may be under way at once in one process. Two would overlap, but each would hold half
	// as many calls, and a commit costs the server as much as twenty requests.
	acceptParallel = 1

	// copyRequests is from how many requests on COPY takes less than a statement, although it is one more round trip.
	copyRequests = 8

	// acceptBytes is what the calls that share a commit may hold together: a request is copied some times on its way.
	acceptBytes = 8 << 20
)

// acceptance is one call of Accept.
type acceptance struct {
	requests []store.Request
	size     int
}

// Accept stores new requests, queued or processing, as owner's, all or none, and returns when they are durable. known are those
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
	return known, wrap("accept", err)
}

func (db *DB) groupAccepts() *groupcommit.Group[acceptance, []store.Request] {
	return &groupcommit.Group[acceptance, []store.Request]{
		Run:      db.accept,
		Size:     func(a acceptance) int { return a.size },
		MaxSize:  acceptBytes,
		Parallel: acceptParallel,
		Blames: func(err error) bool {
			return !store.IsTransient(wrap("accept", err)) && !errors.Is(err, context.Canceled)
		},
	}
}

// accept carries out several calls in one transaction and returns what each of them gets as known.
func (db *DB) accept(ctx context.Context, calls []acceptance) ([][]store.Request, error) {
	first, sorted := distinct(calls)
	now := db.clock.now()
	accepted := func(r *store.Request) time.Time { // which keeps the order of arrival
		return now.Add(time.Duration(first[rules.KeyOf(r)].order) * time.Microsecond)
	}
	var fresh map[rules.Key]bool
	err := db.retry(ctx, func() (err error) {
		fresh, err = db.addRequests(ctx, sorted, accepted)
		return err
	})
	if err != nil {
		return nil, err
	}
	db.requested.saw(len(sorted) - len(fresh))
	db.accepted.Add(int64(len(fresh)))
	return db.knownTo(ctx, calls, sorted, first, fresh)
}

// addRequests stores those requests that aren't stored yet, and says which these were.
func (db *DB) addRequests(ctx context.Context, sorted []*store.Request, accepted func(*store.Request) time.Time) (map[rules.Key]bool, error) {
	var inserted []rules.Key
	var finished []store.Request
	known := func(batch *pgx.Batch) {
		batch.Queue(db.requests.known, column(sorted, idOf)).Query(collect(&finished, scanRequest))
	}
	copied := len(sorted) >= copyRequests && !db.requested.careful()
	if copied {
		err := db.copyRequests(ctx, sorted, accepted, known)
		if copied = codeOf(err) != codeDuplicate; copied && err != nil {
			return nil, err
		}
		inserted = column(sorted, rules.KeyOf)
	}
	if !copied {
		inserted, finished = nil, nil
		err := db.byIndex(ctx, func(batch *pgx.Batch) {
			batch.Queue(db.requests.accept, acceptParameters(sorted, accepted)...).Query(collect(&inserted, scanKey))
			known(batch)
		})
		if err != nil {
			return nil, err
		}
	}
	fresh := make(map[rules.Key]bool, len(inserted))
	for _, key := range inserted {
		fresh[key] = true
	}
	for i := range finished {
		delete(fresh, rules.KeyOf(&finished[i]))
	}
	return fresh, nil
}

// copyRequests stores requests none of which is open, or fails with codeDuplicate.
func (db *DB) copyRequests(ctx context.Context, sorted []*store.Request, accepted func(*store.Request) time.Time, known func(*pgx.Batch)) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	rows := newCopyReader(sorted, func(b []byte, r *store.Request) []byte { return appendRequest(b, r, accepted(r)) })
	batch := &pgx.Batch{}
	batch.Queue(byIndexSQL)
	known(batch)
	batch.Queue("COMMIT")
	return copyThen(ctx, conn.Conn(), db.requests.copy, rows, batch)
}

// knownTo returns, for each call, the requests that it has not newly stored.
func (db *DB) knownTo(
	ctx context.Context, calls []acceptance, sorted []*store.Request, first map[rules.Key]place, fresh map[rules.Key]bool,
) ([][]store.Request, error) {
	known := make([][]store.Request, len(calls))
	stored := map[rules.Key]*store.Request{}
	if len(fresh) < len(sorted) {
		var err error
		old := slices.DeleteFunc(slices.Clone(sorted), func(r *store.Request) bool { return fresh[rules.KeyOf(r)] })
		if stored, err = db.lookUp(ctx, old); err != nil {
			return nil, err
		}
	}
	for i := range calls {
		for j := range calls[i].requests {
			r := &calls[i].requests[j]
			key := rules.KeyOf(r)
			at := first[key]
			switch old := stored[key]; {
			case fresh[key] && at.call == i && at.request == j:
			case old != nil:
				known[i] = append(known[i], *old)
			case fresh[key]:
				known[i] = append(known[i], calls[at.call].requests[at.request])
			default:
				return nil, fmt.Errorf("request %q of queue %q was there and is gone", r.ID, r.Queue) // dropped in between: worth another try
			}
		}
	}
	return known, nil
}

// place is that of a request in a list of calls.
type place struct{ call, request, order int }

// distinct returns the requests that come first, sorted by key, and their places.
func distinct(calls []acceptance) (map[rules.Key]place, []*store.Request) {
	first := map[rules.Key]place{}
	var all []*store.Request
	for i := range calls {
		for j := range calls[i].requests {
			r := &calls[i].requests[j]
			if _, twice := first[rules.KeyOf(r)]; !twice {
				first[rules.KeyOf(r)] = place{i, j, len(all)}
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, rules.ByRequest)
	return first, all
}

// acceptParameters are those of acceptSQL.
func acceptParameters(requests []*store.Request, accepted func(*store.Request) time.Time) []any {
	at := func(field func(*store.Request) time.Time) []*time.Time {
		return column(requests, func(r *store.Request) *time.Time { return orNull(field(r)) })
	}
	owners := column(requests, func(r *store.Request) string { return r.Owner })
	return append(outcomeParameters(owners, requests),
		column(requests, accepted),
		column(requests, func(r *store.Request) string { return r.Key }),
		column(requests, func(r *store.Request) int32 { return int32(r.Priority) }),
		column(requests, func(r *store.Request) int32 { return int32(r.MaxAttempts) }),
		at(func(r *store.Request) time.Time { return r.Deadline }),
		at(func(r *store.Request) time.Time { return r.Created }),
		column(requests, func(r *store.Request) []byte { return r.Payload }),
	)
}
