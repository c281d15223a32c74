package redisstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
)

// lookForLosses is for when the server has forgotten how far the group has got, after a flush, a restart or a failover. It may have forgotten
// entries as well, then those after the last one that was delivered: so that one tells. How many nobody had read is unknown; those that
// wait to be tried again are counted.
func (l *lane) lookForLosses(ctx context.Context, last entryID) error {
	if last == (entryID{}) {
		return nil
	}
	there, err := l.there(ctx, []string{last.String()})
	if err != nil || there[0] {
		return err
	}
	parked := l.ledger.waiting()
	there, err = l.there(ctx, parked)
	if err != nil {
		return err
	}
	gone := int64(0)
	for i, id := range parked {
		if !there[i] {
			l.ledger.forget(id)
			gone++
		}
	}
	l.lose(gone)
	reason := fmt.Sprintf("%s, and entry %s of stream %s isn't there any more", l.doubt, last, l.stream)
	l.src.gaps.add(reason)
	l.src.cfg.Logger.Error("redisstream: entries that nobody had read may be lost: the server has forgotten what it was told",
		"stream", l.stream, "group", l.src.cfg.Group, "reason", reason)
	return nil
}

// there tells which entries are in the stream.
func (l *lane) there(ctx context.Context, ids []string) ([]bool, error) {
	there := make([]bool, len(ids))
	if len(ids) == 0 {
		return there, nil
	}
	pipe := l.src.rdb.Pipeline()
	found := make([]*redis.XMessageSliceCmd, len(ids))
	for i, id := range ids {
		found[i] = pipe.XRangeN(ctx, l.stream, id, id, 1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look what is in the stream: %w", err)
	}
	for i, f := range found {
		there[i] = len(f.Val()) > 0
	}
	return there, nil
}

// gaps are for consumer.GapCounter.
type gaps struct {
	mu    sync.Mutex
	count int64
	last  consumer.Gap
}

func (g *gaps) add(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	g.last = consumer.Gap{At: time.Now(), Reason: reason}
}

// Gaps counts how many times the server was found to have forgotten entries that nobody had read yet, or may have: after a flush, a restart
// without persistence, a failover to a replica that was behind. A stream that was trimmed when its group was deleted counts, too.
func (s *Source) Gaps() (count int64, last consumer.Gap) {
	s.gaps.mu.Lock()
	defer s.gaps.mu.Unlock()
	return s.gaps.count, s.gaps.last
}
