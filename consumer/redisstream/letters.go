package redisstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// DeadLetter is a message that could not be handled, as a Source kept it.
type DeadLetter struct {
	// ID is the letter's own.
	ID string
	// At is when it was given up.
	At time.Time
	// MessageID was the consumer.Raw.ID.
	MessageID string
	// Group is the one whose consumer gave up.
	Group string
	// Reason is the last failure, cut to 1 KiB; Stack is where it panicked, or "".
	Reason, Stack string
	// Attempts is how often the handler had failed.
	Attempts int
	// Fields are those of the entry, the payload among them.
	Fields map[string]string
}

// DeadLetters are those of one stream. Its methods block for a round trip or more; safe for concurrent use, by several processes at once.
type DeadLetters struct {
	rdb          redis.UniversalClient
	stream, dead string
}

// NewDeadLetters returns the dead letters of a stream. It doesn't connect. rdb stays the caller's.
func NewDeadLetters(rdb redis.UniversalClient, stream string) (*DeadLetters, error) {
	cluster, err := inCluster(rdb)
	if cluster {
		err = checkTags([]string{stream})
	}
	if !isName(stream) {
		err = errors.Join(err, fmt.Errorf("redisstream: stream is %q: want 1 to 256 printable bytes of UTF-8", stream))
	}
	if err != nil {
		return nil, err
	}
	return &DeadLetters{rdb: rdb, stream: stream, dead: sibling(stream, cluster, "dead")}, nil
}

// letterPage is how many letters are read or moved at a time.
const letterPage = 100

// Count returns how many there are.
func (d *DeadLetters) Count(ctx context.Context) (int64, error) {
	n, err := d.rdb.XLen(ctx, d.dead).Result()
	return n, d.named("count", err)
}

// All yields the letters, the oldest first. It reads a hundred at a time; after an error there are no more.
func (d *DeadLetters) All(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for from := "-"; ; {
			page, err := d.rdb.XRangeN(ctx, d.dead, from, "+", letterPage).Result()
			if err != nil {
				yield(DeadLetter{}, d.named("read", err))
				return
			}
			for _, e := range page {
				if !yield(letterOf(e), nil) {
					return
				}
			}
			if len(page) < letterPage {
				return
			}
			last, _ := parseID(page[len(page)-1].ID)
			from = last.next().String()
		}
	}
}

// Get returns one letter, by its ID. It reports false if it isn't there, or no more.
func (d *DeadLetters) Get(ctx context.Context, id string) (DeadLetter, bool, error) {
	found, err := d.rdb.XRangeN(ctx, d.dead, id, id, 1).Result()
	if err != nil || len(found) == 0 {
		return DeadLetter{}, false, d.named("read", err)
	}
	return letterOf(found[0]), true, nil
}

// Replay puts letters back into their stream, as new entries at its end, and returns how many. The field "upbeat_replayed" of the entry
// says as which message it died. Every group of the stream gets it, not only the one that had given it up.
//
// Each letter moves in one step: killed halfway, called twice or by two people at once, a letter is either here or back in the stream; one with thousands
// of fields may be in both. One that isn't there any more is passed over.
func (d *DeadLetters) Replay(ctx context.Context, ids ...string) (replayed int64, err error) {
	for page := range slices.Chunk(ids, letterPage) {
		n, err := d.replay(ctx, page)
		if replayed += n; err != nil {
			return replayed, d.named("replay", err)
		}
	}
	return replayed, nil
}

// ReplayAll is Replay for all letters that are there now. One that dies again meanwhile isn't replayed a second time.
func (d *DeadLetters) ReplayAll(ctx context.Context) (replayed int64, err error) {
	ids, err := d.ids(ctx)
	if err != nil {
		return 0, err
	}
	return d.Replay(ctx, ids...)
}

// Delete removes letters for good, and returns how many.
func (d *DeadLetters) Delete(ctx context.Context, ids ...string) (deleted int64, err error) {
	for page := range slices.Chunk(ids, letterPage) {
		n, err := d.rdb.XDel(ctx, d.dead, page...).Result()
		if deleted += n; err != nil {
			return deleted, d.named("delete", err)
		}
	}
	return deleted, nil
}

func (d *DeadLetters) ids(ctx context.Context) (ids []string, err error) {
	for letter, err := range d.All(ctx) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, letter.ID)
	}
	return ids, nil
}

func (d *DeadLetters) named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisstream: %s dead letters of %s: %w", what, d.stream, err)
}

func letterOf(e redis.XMessage) DeadLetter {
	id, _ := parseID(e.ID)
	own := func(name string) string {
		s, _ := e.Values[name].(string)
		return s
	}
	attempts, _ := strconv.Atoi(own("upbeat_attempts"))
	l := DeadLetter{
		ID: e.ID, At: id.time(), MessageID: own("upbeat_id"), Group: own("upbeat_group"), Reason: own("upbeat_reason"),
		Stack: own("upbeat_stack"), Attempts: attempts, Fields: make(map[string]string, len(e.Values)),
	}
	for name := range e.Values {
		if !strings.HasPrefix(name, ourPrefix) {
			l.Fields[name] = own(name)
		}
	}
	return l
}
