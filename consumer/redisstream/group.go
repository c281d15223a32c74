package redisstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// isGroupGone tells whether the group, or the stream with it, isn't there. UNBLOCKED is what a blocked read is told by Redis before 7.2.
func isGroupGone(err error) bool {
	return redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "UNBLOCKED")
}

// ensureGroup makes the group unless it is there, and learns how far it has got.
func (l *lane) ensureGroup(ctx context.Context) error {
	start, again, err := l.startOfGroup(ctx)
	if err != nil {
		return err
	}
	err = l.src.rdb.XGroupCreateMkStream(ctx, l.stream, l.src.cfg.Group, start).Err()
	switch {
	case err == nil && again:
		l.doubt = "the consumer group was gone"
		l.src.cfg.Logger.Warn("redisstream: the consumer group was gone: made again, entries may be delivered twice",
			"stream", l.stream, "group", l.src.cfg.Group, "from", start)
	case err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP"):
		return fmt.Errorf("make group %s: %w", l.src.cfg.Group, err)
	}
	group, err := l.group(ctx)
	if err != nil {
		return err
	}
	if group == nil {
		return nil
	}
	id, ok := parseID(group.LastDeliveredID)
	if !ok {
		return nil
	}
	last, known := l.ledger.newest()
	if known && id.compare(last) < 0 && l.doubt == "" {
		l.doubt = "the consumer group went back to " + id.String()
	}
	if l.doubt != "" {
		if err := l.lookForLosses(ctx, last); err != nil {
			return err
		}
		l.doubt = ""
		l.ledger.rewind(id)
	}
	l.ledger.delivered(id)
	return nil
}

// startOfGroup is where a new group has to begin: as configured the first time, and after that (again) at the lowest entry that is not known
// to be settled, less what other consumers may hold. If all entries are older than that, the stream itself has begun anew.
func (l *lane) startOfGroup(ctx context.Context) (start string, again bool, err error) {
	lowest, known := l.ledger.lowest()
	if !known {
		return l.src.cfg.Start, false, nil
	}
	from := lowest.earlier(2 * l.src.cfg.Lease)
	newest, err := l.src.rdb.XRevRangeN(ctx, l.stream, "+", "-", 1).Result()
	if err != nil {
		return "", true, fmt.Errorf("look at the stream: %w", err)
	}
	if len(newest) == 0 {
		return "0", true, nil
	}
	if id, ok := parseID(newest[0].ID); ok && id.compare(from) <= 0 {
		return "0", true, nil
	}
	return from.String(), true, nil
}

// group returns what Redis knows of the group, nil if there is none.
func (l *lane) group(ctx context.Context) (*redis.XInfoGroup, error) {
	groups, err := l.src.rdb.XInfoGroups(ctx, l.stream).Result()
	if err != nil {
		return nil, fmt.Errorf("look at the groups: %w", err)
	}
	for i := range groups {
		if groups[i].Name == l.src.cfg.Group {
			return &groups[i], nil
		}
	}
	return nil, nil
}

// extend renews the leases of what is held, before half of their time is over.
func (l *lane) extend(ctx context.Context) (lost []string, err error) {
	entries, begun := l.ledger.expiring(l.src.cfg.Lease/6), time.Now()
	if len(entries) == 0 {
		return nil, nil
	}
	pipe := l.src.rdb.Pipeline()
	for part := range chunks(entries) {
		args := []any{l.src.cfg.Group, l.src.cfg.Consumer}
		for _, e := range part {
			args = append(args, e.id)
		}
		pipe.Eval(ctx, extendScript, []string{l.stream}, args...)
	}
	cmds, _ := pipe.Exec(ctx)
	gone := map[string]bool{}
	for _, cmd := range cmds {
		ids, failed := cmd.(*redis.Cmd).StringSlice()
		if failed != nil && !isGroupGone(failed) { // the next read makes it again
			err = errors.Join(err, failed)
		}
		for _, id := range ids {
			gone[id] = true
			lost = append(lost, l.messageID(id))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("redisstream: extend leases in %s: %w", l.stream, err)
	}
	l.ledger.renewed(entries, begun, gone)
	return lost, nil
}
