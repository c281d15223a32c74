package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// RequestQuery returns q with its defaults filled in, so that To and After always bound it, or all that is wrong with it.
func RequestQuery(q store.RequestQuery) (store.RequestQuery, error) {
	err := errors.Join(
		badField("RequestQuery.Queue", badName(q.Queue)),
		badField("RequestQuery.Status", badStatus(q.Status)),
		badField("RequestQuery.Key", badName(q.Key)),
		badField("RequestQuery.Worker", badName(q.Worker)),
		badLimit("RequestQuery", q.Limit),
	)
	if q.After != nil {
		err = errors.Join(err, badField("RequestQuery.After.Queue", badName(q.After.Queue)), badField("RequestQuery.After.ID", badName(q.After.ID)))
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	if q.To.IsZero() {
		q.To = endOfTime
	}
	if q.After == nil || !q.After.At.Before(q.To) {
		q.After = &store.RequestCursor{At: q.To}
	}
	return q, err
}

func badField(name, reason string) error {
	if reason == "" {
		return nil
	}
	return fmt.Errorf("store: %s %s", name, reason)
}

func badLimit(query string, limit int) error {
	if limit >= 0 && limit <= maxPage {
		return nil
	}
	return fmt.Errorf("store: %s.Limit is %d: want 1 to %d, or 0 for %d", query, limit, maxPage, defaultPage)
}

func badStatus(status string) string {
	if status == "" || status == store.RequestQueued || status == store.RequestProcessing || Finished(status) {
		return ""
	}
	return fmt.Sprintf("is %q: want none or a request's", cutName(status))
}

// Placed is a request with the time by which pages are ordered.
type Placed struct {
	At time.Time
	store.Request
}

// RequestPage makes a page out of requests that were asked for with one more than the limit.
func RequestPage(placed []Placed, limit int) store.RequestPage {
	page := store.RequestPage{}
	for i := range placed {
		if i == limit {
			last := &placed[i-1]
			page.Next = &store.RequestCursor{At: last.At, Queue: last.Queue, ID: last.ID}
			break
		}
		page.Requests = append(page.Requests, placed[i].Request)
	}
	return page
}

// RequestStats returns q with its range filled in, or what is wrong with it.
func RequestStats(q store.RequestStatsQuery, now time.Time) (store.RequestStatsQuery, error) {
	if q.To.IsZero() {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-time.Hour)
	}
	q.From, q.To = micros(q.From), micros(q.To)
	err := badField("RequestStatsQuery.Queue", badName(q.Queue))
	if !q.From.Before(q.To) {
		err = errors.Join(err, fmt.Errorf("store: RequestStatsQuery.From is %s: want a time before To, %s", q.From, q.To))
	}
	return q, err
}

// Throughput is how many finished per second of the range.
func Throughput(s *store.RequestStats) float64 {
	return float64(s.Completed+s.Failed+s.Cancelled) / s.To.Sub(s.From).Seconds()
}

// Samples separates what can be stored from what can't. The admitted come sorted by key, each key once, the first one.
func Samples(samples []store.QueueSample, w Window) (admitted []*store.QueueSample, err error) {
	var refused []*store.RowError
	for i := range samples {
		s := samples[i]
		if reason := badSample(&s, w); reason != "" {
			refused = append(refused, &store.RowError{Index: i, Queue: s.Queue, ID: s.Worker, Reason: reason})
			continue
		}
		s.At = micros(s.At)
		admitted = append(admitted, &s)
	}
	slices.SortStableFunc(admitted, bySample)
	admitted = slices.CompactFunc(admitted, func(a, b *store.QueueSample) bool { return bySample(a, b) == 0 })
	if len(refused) > 0 {
		err = &store.RefusedRowsError{Rows: refused}
	}
	return admitted, err
}

func bySample(a, b *store.QueueSample) int {
	for _, c := range [...]int{strings.Compare(a.Queue, b.Queue), a.At.Compare(b.At), strings.Compare(a.Worker, b.Worker)} {
		if c != 0 {
			return c
		}
	}
	return a.Shard - b.Shard
}

func badSample(s *store.QueueSample, w Window) string {
	if reason := emptyName(s.Queue); reason != "" {
		return "Queue " + reason
	}
	if reason := badName(s.Queue); reason != "" {
		return "Queue " + reason
	}
	if reason := badName(s.Worker); reason != "" {
		return "Worker " + reason
	}
	if !w.Holds(s.At) {
		return fmt.Sprintf("At is outside of %s to %s", w.From.Format(time.RFC3339), w.To.UTC().Format(time.RFC3339))
	}
	if outside32(s.Shard) || outside32(s.Depth) || outside32(s.Active) {
		return "Shard, Depth or Active exceeds 32 bits"
	}
	return ""
}

// QueueSampleQuery returns q with its defaults filled in, so that To and After always bound it, or all that is wrong with it.
func QueueSampleQuery(q store.QueueSampleQuery) (store.QueueSampleQuery, error) {
	err := errors.Join(
		badField("QueueSampleQuery.Queue", emptyName(q.Queue)),
		badField("QueueSampleQuery.Queue", badName(q.Queue)),
		badField("QueueSampleQuery.Worker", badName(q.Worker)),
		badLimit("QueueSampleQuery", q.Limit),
	)
	if q.After != nil {
		err = errors.Join(err, badField("QueueSampleQuery.After.Worker", badName(q.After.Worker)))
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	if q.To.IsZero() {
		q.To = endOfTime
	}
	if q.After == nil || !q.After.At.Before(q.To) {
		q.After = &store.QueueSampleCursor{At: q.To}
	}
	return q, err
}

// SamplePage makes a page out of samples that were asked for with one more than the limit.
func SamplePage(samples []store.QueueSample, limit int) store.QueueSamplePage {
	if len(samples) <= limit {
		return store.QueueSamplePage{Samples: samples}
	}
	last := samples[limit-1]
	return store.QueueSamplePage{Samples: samples[:limit], Next: &store.QueueSampleCursor{At: last.At, Worker: last.Worker, Shard: last.Shard}}
}
