package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	smallRows  = copyRows
	smallBytes = 1 << 20

	// groupRows is how many messages a shared transaction takes.
	groupRows = 2000

	// groups is how many shared transactions are under way at once: while one waits for the disk, the next is sent.
	groups = 2
)

func small(msgs []*store.Message) bool {
	size := 0
	for _, m := range msgs {
		size += len(m.Payload)
	}
	return len(msgs) > 0 && len(msgs) < smallRows && size < smallBytes
}

// groupRecords lets small batches share transactions. Of each it returns how many messages were inserted.
func (db *DB) groupRecords() *groupcommit.Group[[]*store.Message, int] {
	return &groupcommit.Group[[]*store.Message, int]{
		Run:      db.recordTogether,
		Size:     func(msgs []*store.Message) int { return len(msgs) },
		MaxSize:  groupRows,
		Parallel: groups,
		Blames: func(err error) bool {
			return !store.IsTransient(wrap("record", err)) && !errors.Is(err, context.Canceled)
		},
	}
}

// recordTogether stores the batches of all callers in one transaction.
func (db *DB) recordTogether(ctx context.Context, calls [][]*store.Message) ([]int, error) {
	msgs, owners := merged(calls)
	fresh, err := db.insert(ctx, msgs)
	if err != nil {
		return nil, err
	}
	inserted := make([]int, len(calls))
	for i, f := range fresh {
		if f {
			inserted[owners[i]]++
		}
	}
	return inserted, nil
}

// merged are the messages of all calls, sorted by key. Of the same message the first call is the owner.
func merged(calls [][]*store.Message) (msgs []*store.Message, owners []int) {
	type owned struct {
		*store.Message
		owner int
	}
	var all []owned
	for call, batch := range calls {
		for _, m := range batch {
			all = append(all, owned{m, call})
		}
	}
	slices.SortStableFunc(all, func(a, b owned) int { return rules.ByKey(a.Message, b.Message) })
	all = slices.CompactFunc(all, func(a, b owned) bool { return rules.ByKey(a.Message, b.Message) == 0 })
	for _, o := range all {
		msgs, owners = append(msgs, o.Message), append(owners, o.owner)
	}
	return msgs, owners
}

// cloned are copies: a caller that was cancelled has its messages back while others' go on with theirs.
func cloned(msgs []*store.Message) []*store.Message {
	copies := make([]store.Message, len(msgs))
	pointers := make([]*store.Message, len(msgs))
	for i, m := range msgs {
		copies[i] = *m
		copies[i].Payload = slices.Clone(m.Payload)
		if m.Alert != nil {
			alert := *m.Alert
			copies[i].Alert = &alert
		}
		pointers[i] = &copies[i]
	}
	return pointers
}
