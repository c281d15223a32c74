package rules

import (
	"time"

	"github.com/upbeat-go/upbeat/store"
)

const (
	day  = 24 * time.Hour
	late = 30 * day // how late a message may be where retention sets no limit
)

// Window is the range of times whose messages are kept: From is included, To is not.
type Window struct{ From, To time.Time }

// WindowAt is the window of a store that keeps messages for the given period, or for ever if that is negative. It begins with
// a whole UTC day, as retention forgets whole days, and ends a day ahead, so that clocks may be wrong by that much.
func WindowAt(now time.Time, retention time.Duration) Window {
	if retention < 0 {
		retention = late
	}
	return Window{From: now.Add(-retention).UTC().Truncate(day), To: now.Add(day)}
}

// Reaching widens the window to the UTC day of t, the oldest message that a store without retention has.
func (w Window) Reaching(t time.Time) Window {
	if start := t.UTC().Truncate(day); start.Before(w.From) {
		w.From = start
	}
	return w
}

// Holds reports whether t lies in the window.
func (w Window) Holds(t time.Time) bool { return !t.Before(w.From) && t.Before(w.To) }

// HoldsAll reports whether all messages lie in the window.
func (w Window) HoldsAll(msgs []store.Message) bool {
	for i := range msgs {
		if !w.Holds(msgs[i].At) {
			return false
		}
	}
	return true
}
