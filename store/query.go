package store

import "time"

// AlertQuery asks for episodes of alerts, the last raised first. The zero AlertQuery asks for the newest 100.
type AlertQuery struct {
	// Open leaves out the episodes that are over.
	Open bool

	// Severity, Service and Fingerprint choose; empty means all.
	Severity    string
	Service     string
	Fingerprint string

	// From (included) and To (excluded) choose the episodes by their RaisedAt; zero means no limit.
	From time.Time
	To   time.Time

	// Limit is the size of a page, 1 to 10,000; 0 means 100.
	Limit int

	// After goes on behind the page that gave it as its Next; nil starts at the newest episode. An episode whose first raise
	// arrives late moves back in time: it can be met again, with the same ID.
	After *AlertCursor
}

// AlertCursor is a place among the episodes: that of the one with this RaisedAt and ID.
type AlertCursor struct {
	RaisedAt time.Time `json:"raised_at"`
	ID       int64     `json:"id"`
}

// AlertPage is one page of episodes.
type AlertPage struct {
	Alerts []Alert `json:"alerts"`

	// Next continues behind this page. It is nil on the last one.
	Next *AlertCursor `json:"next,omitempty"`
}

// TimelineQuery asks what happened to a service, newest first: its messages, its alerts, and the changes of its instances'
// states, in one order of time.
type TimelineQuery struct {
	Service string // not empty

	// From (included) and To (excluded) choose what happened by its time; zero means no limit.
	From time.Time
	To   time.Time

	// Limit is the size of a page, 1 to 10,000; 0 means 100.
	Limit int

	// After goes on behind the page that gave it as its Next; nil starts at the newest.
	After *TimelineCursor
}

// EventKind says what an [Event] is.
type EventKind string

// The kinds of events. Of the same microsecond, the later one of this list comes first on a page.
const (
	EventMessage  EventKind = "message"
	EventState    EventKind = "state"    // an instance's state changed
	EventRaised   EventKind = "raised"   // an episode of an alert began
	EventResolved EventKind = "resolved" // and ended
)

// Event is one thing that happened to a service. What it was is in the field of its kind; the others are nil.
type Event struct {
	At      time.Time     `json:"at"`
	Kind    EventKind     `json:"kind"`
	Message *Entry        `json:"message,omitempty"`
	State   *UptimeChange `json:"state,omitempty"`
	Alert   *Alert        `json:"alert,omitempty"` // the whole episode, as it is now
}

// TimelineCursor is a place on the timeline: that of the event with this time, kind and ID.
type TimelineCursor struct {
	At   time.Time `json:"at"`
	Kind EventKind `json:"kind"`
	ID   string    `json:"id"` // of the message, the instance or the episode
}

// Timeline is one page of what happened.
type Timeline struct {
	Events []Event `json:"events"`

	// Next continues behind this page. It is nil on the last one.
	Next *TimelineCursor `json:"next,omitempty"`
}

// UptimeQuery asks how long a service was up.
type UptimeQuery struct {
	Service string // not empty

	// From (included) to To (excluded); a zero To is now by the store's clock, a zero From is 24 hours before To. Nothing is
	// said of what lies ahead of the clock.
	From time.Time
	To   time.Time
}

// MetricQuery asks for a metric's rollups: with [MetricMessages] for throughput, with the name of a number in the payloads
// for its mean, extremes and percentiles ([Rollup.Quantile]).
type MetricQuery struct {
	Service string // empty means all services together
	Metric  string

	// From (included) and To (excluded) are times within the minutes asked for: whole minutes are summed up. A zero To
	// is now by the store's clock, a zero From is an hour before To.
	From time.Time
	To   time.Time

	// Step is how much time one Rollup of the answer sums up: whole minutes, counted from 1970, or 0 for all in one. At most
	// 10,000 steps fit into one answer.
	Step time.Duration
}

// MetricSeries is a metric over time.
type MetricSeries struct {
	// Rollups are ordered by Minute, which is the start of a step; steps without samples are left out.
	Rollups []Rollup `json:"rollups"`

	// CompleteTo is up to when all that is recorded is summed up: To, or the first minute that Maintain hasn't come to yet.
	CompleteTo time.Time `json:"complete_to"`
}
