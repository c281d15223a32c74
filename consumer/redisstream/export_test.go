package redisstream

import (
	"context"
	"time"
)

// ParseFound exposes parseFound.
var ParseFound = parseFound

// NextID returns what follows an entry id, and whether it was one.
func NextID(s string) (string, bool) {
	id, ok := parseID(s)
	return id.next().String(), ok
}

// EarlierID returns the id that lies d before s.
func EarlierID(s string, d time.Duration) string {
	id, _ := parseID(s)
	return id.earlier(d).String()
}

// CompareIDs compares two entry ids.
func CompareIDs(a, b string) int {
	x, _ := parseID(a)
	y, _ := parseID(b)
	return x.compare(y)
}

// Alarm exposes alarm.
type Alarm struct{ alarm }

// Set is alarm.set.
func (a *Alarm) Set(t time.Time) { a.set(t) }

// Wait is alarm.wait.
func (a *Alarm) Wait(longest time.Duration, interrupt context.CancelFunc) time.Duration {
	return a.wait(longest, interrupt)
}

// Done is alarm.done.
func (a *Alarm) Done() { a.done() }

// Due is alarm.due.
func (a *Alarm) Due() bool { return a.due() }

// Clear is alarm.clear.
func (a *Alarm) Clear(t time.Time) { a.clear(t) }

// Share exposes share.
var Share = share
