package redisstream

import (
	"context"
	"net"
	"time"
)

// ParseFound exposes parseFound.
var ParseFound = parseFound

// Item is an entry as it was read.
type Item = item

// ID is the entry's own.
func (i item) ID() string { return i.id }

// Attempts are the deliveries that count.
func (i item) Attempts() int64 { return i.attempts }

// Field is the field of that name.
func (i item) Field(name string) string { return string(i.fields.get(name)) }

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

// ReadGroup reads one reply from socket.
func ReadGroup(ctx context.Context, socket net.Conn, stream string, count int) ([]Item, error) {
	var w wire
	return w.readGroup(ctx, socket, "g", "c", stream, count, time.Second)
}

// Fields are those of the entry, in their order: names and values in turn.
func (i item) Fields() (all []string) {
	for name, value := range i.fields.all() {
		all = append(all, name, string(value))
	}
	return all
}

// Name is the ID of its message.
func (i item) Name() string { return i.name }
