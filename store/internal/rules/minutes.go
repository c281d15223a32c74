package rules

import (
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// Minute is one in which a service has so many messages or more, or, if Messages is 0, may have some. Of the first one, a part may
// be behind a cursor.
type Minute struct {
	At       time.Time
	Messages int64
}

// firstUnknown is how many minutes of which nothing is known are read at first.
const firstUnknown = 8

// ByMinutes reads the messages of one service, newest first, by the minutes that can have some, newest first: as few as limit
// messages take. read returns those of some minutes. So a service is found among many without an index on the log by service,
// which would cost every write.
func ByMinutes(minutes []Minute, limit int, read func(minutes []time.Time, limit int) ([]store.Entry, error)) ([]store.Entry, error) {
	var all []store.Entry
	for unknown := firstUnknown; len(minutes) > 0 && len(all) < limit; unknown *= 2 {
		var next []time.Time
		next, minutes = someMinutes(minutes, int64(limit-len(all)), unknown)
		entries, err := read(next, limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// someMinutes takes minutes until they are known to have so many messages, or until there are so many of which nothing is known.
func someMinutes(minutes []Minute, messages int64, unknown int) (next []time.Time, rest []Minute) {
	n := 0
	for n < len(minutes) && messages > 0 && unknown > 0 {
		messages -= minutes[n].Messages
		if minutes[n].Messages == 0 {
			unknown--
		}
		next = append(next, minutes[n].At)
		n++
	}
	return next, minutes[n:]
}

// MessageMinutes is the range of minutes that a query's messages are in.
func MessageMinutes(q store.MessageQuery) (first, last time.Time) {
	to := q.To
	if q.After.At.Before(to) {
		to = q.After.At
	}
	return q.From.Truncate(time.Minute), to.Truncate(time.Minute)
}
