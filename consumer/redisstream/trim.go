package redisstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Trimmed is what a call of [Trim] removed.
type Trimmed struct {
	// Settled entries, which every group was done with.
	Settled int64
	// Lost entries, which at least one group was still to handle: those above a limit. It may have been done with a few of them meanwhile.
	Lost int64
}

// Trim removes the entries of a stream that all of its groups have settled, so that a stream is as long as its backlog: call it now and then.
// Redis itself trims by length and age alone, whether anybody has handled an entry or not.
//
// The oldest entry that some group was not given, or has pending, stays, and so do all after it: a group that nobody reads any more keeps everything, until
// XGROUP DESTROY. A stream without a group keeps everything as well. A few settled entries may stay, as Redis removes whole blocks faster.
//
// With maxLen above 0 no more than about so many entries are left, handled or not: rather lose the oldest than the server. That is counted as Lost,
// and those among them that a consumer had in hand also in its Stats.
//
// It blocks for a few round trips. Safe for concurrent use, by several processes at once, and again after an error.
func Trim(ctx context.Context, rdb redis.UniversalClient, stream string, maxLen int64) (Trimmed, error) {
	var done Trimmed
	_, err := inCluster(rdb)
	if maxLen < 0 {
		err = errors.Join(err, fmt.Errorf("redisstream: maxLen is %d: want at least 1, or 0 for no limit", maxLen))
	}
	if err != nil {
		return done, err
	}
	if err = done.trim(ctx, rdb, stream, maxLen); err != nil {
		return done, fmt.Errorf("redisstream: trim %s: %w", stream, err)
	}
	return done, nil
}

func (t *Trimmed) trim(ctx context.Context, rdb redis.UniversalClient, stream string, maxLen int64) error {
	length, err := rdb.XLen(ctx, stream).Result()
	if err != nil || length == 0 { // nor are there groups where there is no stream
		return err
	}
	bound, err := unsettled(ctx, rdb, stream)
	if err != nil {
		return err
	}
	t.Settled, err = repeat(func() (int64, error) { return rdb.XTrimMinIDApprox(ctx, stream, bound.String(), trimSize).Result() })
	if err == nil && maxLen > 0 && length-t.Settled > maxLen {
		err = t.toLength(ctx, rdb, stream, bound, maxLen)
	}
	return err
}

// trimSize is how many entries one command removes: Redis serves nobody else meanwhile.
const trimSize = 10_000

// toLength removes exactly what is settled first, so that all that goes after that is a loss.
func (t *Trimmed) toLength(ctx context.Context, rdb redis.UniversalClient, stream string, bound entryID, maxLen int64) error {
	settled, err := rdb.XTrimMinID(ctx, stream, bound.String()).Result()
	t.Settled += settled
	if err != nil {
		return err
	}
	t.Lost, err = repeat(func() (int64, error) { return rdb.XTrimMaxLenApprox(ctx, stream, maxLen, trimSize).Result() })
	return err
}

// repeat calls remove until it finds nothing, and adds up.
func repeat(remove func() (int64, error)) (total int64, err error) {
	for {
		n, err := remove()
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
}

// unsettled returns the lowest id that an entry may have which some group is still to settle: 0-0 without any group. It only ever rises, unless
// somebody makes a group or sets one back.
func unsettled(ctx context.Context, rdb redis.UniversalClient, stream string) (lowest entryID, err error) {
	groups, err := rdb.XInfoGroups(ctx, stream).Result()
	if err != nil {
		return entryID{}, err
	}
	for i, g := range groups {
		id, ok := parseID(g.LastDeliveredID)
		if !ok {
			return entryID{}, fmt.Errorf("%w: group %s has got to %q", errReply, g.Name, g.LastDeliveredID)
		}
		low := id.next()
		pending, err := rdb.XPending(ctx, stream, g.Name).Result()
		if err != nil {
			return entryID{}, err
		}
		if first, ok := parseID(pending.Lower); ok && pending.Count > 0 && first.compare(low) < 0 {
			low = first
		}
		if i == 0 || low.compare(lowest) < 0 {
			lowest = low
		}
	}
	return lowest, nil
}
