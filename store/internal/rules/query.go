package rules

import (
	"errors"
	"fmt"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

const (
	defaultPage = 100
	maxPage     = 10_000
)

// endOfTime lies behind every message: no window reaches it.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Query returns q with its defaults filled in, so that To and After always bound it, or all that is wrong with it.
func Query(q store.MessageQuery) (store.MessageQuery, error) {
	var errs []error
	if reason := badName(q.Service); reason != "" {
		errs = append(errs, fmt.Errorf("store: MessageQuery.Service %s", reason))
	}
	if reason := badName(q.Instance); reason != "" {
		errs = append(errs, fmt.Errorf("store: MessageQuery.Instance %s", reason))
	}
	if q.Limit < 0 || q.Limit > maxPage {
		errs = append(errs, fmt.Errorf("store: MessageQuery.Limit is %d: want 1 to %d, or 0 for %d", q.Limit, maxPage, defaultPage))
	}
	if q.After != nil {
		if reason := badName(q.After.ID); reason != "" {
			errs = append(errs, fmt.Errorf("store: MessageQuery.After.ID %s", reason))
		}
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	if q.To.IsZero() {
		q.To = endOfTime
	}
	q.From, q.To = storable(q.From), storable(q.To)
	after := store.Cursor{At: q.To}
	if q.After != nil && q.After.At.Before(q.To) {
		after = store.Cursor{At: storable(q.After.At), ID: q.After.ID}
	}
	q.After = &after
	return q, errors.Join(errs...)
}

// Page makes a page out of entries that were asked for with one more than the limit.
func Page(entries []store.Entry, limit int) store.MessagePage {
	if len(entries) <= limit {
		return store.MessagePage{Messages: entries}
	}
	last := entries[limit-1]
	return store.MessagePage{Messages: entries[:limit], Next: &store.Cursor{At: last.At, ID: last.ID}}
}
