package rules

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// reading gathers what is wrong with a query.
type reading struct {
	query string
	errs  []error
}

func (r *reading) wrong(field, reason string) {
	if reason != "" {
		r.errs = append(r.errs, fmt.Errorf("store: %s.%s %s", r.query, field, reason))
	}
}

func (r *reading) service(name string) {
	if name == "" {
		r.wrong("Service", "is empty")
	}
	r.wrong("Service", badName(name))
}

// page fills in the limits of a page.
func (r *reading) page(limit *int, from, to *time.Time) {
	if *limit < 0 || *limit > maxPage {
		r.wrong("Limit", fmt.Sprintf("is %d: want 1 to %d, or 0 for %d", *limit, maxPage, defaultPage))
	}
	if *limit == 0 {
		*limit = defaultPage
	}
	if to.IsZero() {
		*to = endOfTime
	}
	*from, *to = storable(*from), storable(*to)
}

// storable is t if a database can hold it, or else the end of time that is next to it.
func storable(t time.Time) time.Time {
	switch {
	case t.Before(startOfTime):
		return startOfTime
	case t.After(endOfTime):
		return endOfTime
	}
	return t
}

// window fills in a range of times.
func (r *reading) window(from, to *time.Time, now time.Time, length time.Duration) {
	if to.IsZero() {
		*to = now
	}
	if from.IsZero() {
		*from = to.Add(-length)
	}
	*from, *to = storable(*from).UTC().Truncate(time.Microsecond), storable(*to).UTC().Truncate(time.Microsecond)
	if !from.Before(*to) {
		r.wrong("From", fmt.Sprintf("is %s: want a time before To, %s", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano)))
	}
}

var startOfTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)

// AlertQuery returns q with its defaults filled in, so that To and After always bound it, or all that is wrong with it.
func AlertQuery(q store.AlertQuery) (store.AlertQuery, error) {
	r := reading{query: "AlertQuery"}
	r.wrong("Severity", badName(q.Severity))
	r.wrong("Service", badName(q.Service))
	r.wrong("Fingerprint", badName(q.Fingerprint))
	r.page(&q.Limit, &q.From, &q.To)
	after := store.AlertCursor{RaisedAt: q.To}
	if q.After != nil && q.After.RaisedAt.Before(q.To) {
		after = store.AlertCursor{RaisedAt: storable(q.After.RaisedAt), ID: q.After.ID}
	}
	q.After = &after
	return q, errors.Join(r.errs...)
}

// AlertPage makes a page out of episodes that were asked for with one more than the limit.
func AlertPage(alerts []store.Alert, limit int) store.AlertPage {
	if len(alerts) <= limit {
		return store.AlertPage{Alerts: alerts}
	}
	last := &alerts[limit-1]
	return store.AlertPage{Alerts: alerts[:limit], Next: &store.AlertCursor{RaisedAt: last.RaisedAt, ID: last.ID}}
}

// UptimeQuery returns q with its defaults filled in, or all that is wrong with it.
func UptimeQuery(q store.UptimeQuery, now time.Time) (store.UptimeQuery, error) {
	r := reading{query: "UptimeQuery"}
	r.service(q.Service)
	if q.From.IsZero() && q.To.After(now) {
		q.To = now
	}
	r.window(&q.From, &q.To, now, 24*time.Hour)
	if q.To.After(now) { // nothing is known of the future
		q.To = now.UTC().Truncate(time.Microsecond)
		if q.To.Before(q.From) {
			q.To = q.From
		}
	}
	return q, errors.Join(r.errs...)
}

const maxSteps = 10_000

// MetricQuery returns q with its defaults filled in and its range widened to whole minutes, or all that is wrong with it.
func MetricQuery(q store.MetricQuery, now time.Time) (store.MetricQuery, error) {
	r := reading{query: "MetricQuery"}
	r.wrong("Service", badName(q.Service))
	r.wrong("Metric", badName(q.Metric))
	r.window(&q.From, &q.To, now, time.Hour)
	q.From = q.From.Truncate(time.Minute)
	if whole := q.To.Truncate(time.Minute); whole.Before(q.To) {
		q.To = whole.Add(time.Minute)
	}
	switch {
	case q.Step < 0 || q.Step%time.Minute != 0:
		r.wrong("Step", fmt.Sprintf("is %s: want whole minutes, or 0", q.Step))
	case q.Step > 0 && q.To.Sub(q.From)/q.Step >= maxSteps:
		r.wrong("Step", fmt.Sprintf("is %s: at most %d of them fit into an answer", q.Step, maxSteps))
	}
	return q, errors.Join(r.errs...)
}

// DashboardQuery returns q with its defaults filled in, or all that is wrong with it.
func DashboardQuery(q store.DashboardQuery) (store.DashboardQuery, error) {
	r := reading{query: "DashboardQuery"}
	if q.Window == 0 {
		q.Window = 5 * time.Minute
	}
	if q.Window < time.Minute || q.Window > 24*time.Hour || q.Window%time.Minute != 0 {
		r.wrong("Window", fmt.Sprintf("is %s: want whole minutes up to 24h, or 0 for 5m", q.Window))
	}
	if q.Alerts == 0 {
		q.Alerts = defaultPage
	}
	if q.Alerts < 0 || q.Alerts > maxPage {
		r.wrong("Alerts", fmt.Sprintf("is %d: want 1 to %d, or 0 for %d", q.Alerts, maxPage, defaultPage))
	}
	if c := q.Consumer; c != nil && (c.ErrorRate-c.ErrorRate != 0 || c.Rate-c.Rate != 0) { // JSON has no NaN and no infinity
		r.wrong("Consumer", "has a figure that is no number")
	}
	return q, errors.Join(r.errs...)
}

// kinds are in the order of EventMessage and so on.
var kinds = [...]store.EventKind{store.EventMessage, store.EventState, store.EventRaised, store.EventResolved}

// TimelineCursors are where each kind of event goes on: behind these keys.
type TimelineCursors struct {
	Message, State, Raised, Resolved store.Cursor
	RaisedID, ResolvedID             int64
}

// TimelineQuery returns q with its defaults filled in, and where each kind of event goes on, or all that is wrong with it.
func TimelineQuery(q store.TimelineQuery) (store.TimelineQuery, TimelineCursors, error) {
	r := reading{query: "TimelineQuery"}
	r.service(q.Service)
	r.page(&q.Limit, &q.From, &q.To)
	after := store.TimelineCursor{At: q.To, Kind: kinds[0]}
	if q.After != nil && q.After.At.Before(q.To) {
		after = *q.After
		after.At = storable(after.At)
	}
	r.wrong("After.ID", badName(after.ID))
	var cursors [len(kinds)]store.Cursor
	known := false
	for i, kind := range kinds {
		switch {
		case kind == after.Kind:
			known = true
			cursors[i] = store.Cursor{At: after.At, ID: after.ID}
		case known: // a later kind: of the cursor's own time it has all been seen
			cursors[i] = store.Cursor{At: after.At}
		default:
			cursors[i] = store.Cursor{At: after.At.Add(time.Microsecond)}
		}
	}
	if !known {
		r.wrong("After.Kind", fmt.Sprintf("is %.40q: want that of an event", string(after.Kind)))
	}
	all := TimelineCursors{Message: cursors[0], State: cursors[1], Raised: cursors[2], Resolved: cursors[3]}
	all.RaisedID, all.ResolvedID = r.alertID(all.Raised.ID), r.alertID(all.Resolved.ID)
	return q, all, errors.Join(r.errs...)
}

func (r *reading) alertID(text string) int64 {
	if text == "" {
		return 0
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.wrong("After.ID", fmt.Sprintf("is %.40q: want that of an alert", text))
	}
	return id
}

// Timeline merges what was asked for of each kind, newest first and with one more than the limit, into a page.
func Timeline(limit int, lists ...[]store.Event) store.Timeline {
	t := store.Timeline{}
	for {
		newest := -1
		for i, list := range lists { // which are in the order of kinds: the later kind comes first
			if len(list) > 0 && (newest < 0 || !list[0].At.Before(lists[newest][0].At)) {
				newest = i
			}
		}
		if newest < 0 {
			return t
		}
		if len(t.Events) == limit {
			last := &t.Events[limit-1]
			t.Next = &store.TimelineCursor{At: last.At, Kind: last.Kind, ID: eventID(last)}
			return t
		}
		t.Events = append(t.Events, lists[newest][0])
		lists[newest] = lists[newest][1:]
	}
}

// MessageEvents are messages on a timeline.
func MessageEvents(messages []store.Entry) []store.Event {
	events := make([]store.Event, len(messages))
	for i := range messages {
		events[i] = store.Event{At: messages[i].At, Kind: store.EventMessage, Message: &messages[i]}
	}
	return events
}

func eventID(e *store.Event) string {
	switch e.Kind {
	case store.EventMessage:
		return e.Message.ID
	case store.EventState:
		return e.State.Instance
	default:
		return strconv.FormatInt(e.Alert.ID, 10)
	}
}
