package redisstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// searchEnd is the cursor of XAUTOCLAIM before the first and after the last entry.
const searchEnd = "0-0"

const (
	// reclaimEvery is how often a lane looks for entries of dead consumers, without being woken for one.
	reclaimEvery = 5 * time.Second
	// sweepAfter is for how long nothing must have been heard of a consumer for its name to be removed.
	sweepAfter = time.Hour
)

// reclaim takes over entries whose lease is over: those of dead consumers, and those whose pause before another attempt is.
func (l *lane) reclaim(ctx context.Context, count int) ([]item, error) {
	if l.cursor == searchEnd {
		l.searched = time.Now()
	}
	for {
		lease := l.src.cfg.Lease.Milliseconds()
		cursor, entries, err := l.find(ctx, reclaimScript, lease, l.cursor, min(count, scriptSize))
		if err != nil {
			return nil, fmt.Errorf("reclaim: %w", err)
		}
		if l.cursor = cursor; cursor == searchEnd {
			l.alarm.clear(l.searched)
			l.alarm.set(l.searched.Add(backoff.Shorten(min(reclaimEvery, l.src.cfg.Lease/4), 0.2, rand.Float64())))
		}
		if entries = l.others(entries, false); len(entries) > 0 || cursor == searchEnd {
			return entries, nil
		}
	}
}

// others leaves out what is held here: entries whose lease ran out because it could not be renewed, and parked ones if it isn't their time.
func (l *lane) others(entries []item, early bool) (rest []item) {
	if len(entries) == 0 {
		return nil
	}
	held := l.ledger.held(early)
	for _, e := range entries {
		if !held[e.id] {
			rest = append(rest, e)
		}
	}
	return rest
}

// takeUp returns what this consumer held in an earlier life or, of an exclusive stream, what anybody held. Later, after
// a failure, it returns what has been read and never arrived.
func (l *lane) takeUp(ctx context.Context, count int) ([]item, error) {
	if l.resume == (entryID{}) {
		// Names pile up otherwise. It isn't worth a failure.
		_ = l.eval(ctx, sweepScript, l.src.cfg.Group, l.src.cfg.Consumer, sweepAfter.Milliseconds()).Err()
	}
	for {
		args := []any{l.resume.String(), min(count, scriptSize)}
		if l.owner == "" {
			args = append(args, l.src.cfg.Consumer)
		}
		last, entries, err := l.find(ctx, takeUpScript, args...)
		if err != nil {
			return nil, fmt.Errorf("take up: %w", err)
		}
		id, more := parseID(last)
		if !more {
			l.resumed = true
			return nil, nil
		}
		l.resume = id.next()
		if entries = l.others(entries, true); len(entries) > 0 {
			return entries, nil
		}
	}
}

var errReply = errors.New("unexpected reply of a script")

// find runs one of the scripts that return where to go on, how many entries have no data any more, and the others.
func (l *lane) find(ctx context.Context, script string, args ...any) (next string, entries []item, err error) {
	args = append([]any{l.src.cfg.Group, l.src.cfg.Consumer}, args...)
	reply, err := l.eval(ctx, script, args...).Slice()
	if err != nil {
		return "", nil, err
	}
	next, gone, entries, ok := parseFound(reply)
	for i := range entries {
		entries[i].name = l.messageID(entries[i].id)
	}
	if !ok {
		return "", nil, fmt.Errorf("%w: %.200q", errReply, reply)
	}
	l.lose(gone)
	return next, entries, nil
}

// lose counts entries that have no data any more.
func (l *lane) lose(count int64) {
	if count > 0 {
		l.src.lost.Add(count)
		l.src.cfg.Logger.Warn("redisstream: entries were trimmed or deleted before they were handled", "stream", l.stream, "count", count)
	}
}

// parseFound reads {next, gone, {{id, attempts, {name, value, …}}, …}}.
func parseFound(reply []any) (next string, gone int64, entries []item, ok bool) {
	if len(reply) != 3 {
		return "", 0, nil, false
	}
	next, isString := reply[0].(string)
	gone, isInt := reply[1].(int64)
	list, isList := reply[2].([]any)
	for _, reply := range list {
		e, ok := parseEntry(reply)
		if !ok {
			return "", 0, nil, false
		}
		entries = append(entries, e)
	}
	return next, gone, entries, isString && isInt && isList
}

func parseEntry(reply any) (e item, ok bool) {
	parts, _ := reply.([]any)
	if len(parts) != 3 {
		return e, false
	}
	id, isString := parts[0].(string)
	attempts, isInt := parts[1].(int64)
	list, isList := parts[2].([]any)
	if !isString || !isInt || !isList || len(list)%2 != 0 {
		return e, false
	}
	e = item{id: id, attempts: attempts}
	for _, field := range list {
		s, isString := field.(string)
		if !isString {
			return e, false
		}
		e.fields = appendBulk(e.fields, s)
	}
	return e, true
}
