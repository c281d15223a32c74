package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/groupcommit"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Writers that are in transactions of their own at the same time keep each other's old statuses from being cleaned up, and find more
// of them with every message: eight are half as fast as two that write the same batches. So batches share transactions, but for
// those that are large enough to be one.
const (
	// groups is how many shared transactions are under way at once: while one waits for the disk, the next is sent.
	groups = 2

	// groupBytes is what a shared transaction takes: some 8,000 heartbeats.
	groupBytes = 4 << 20

	// rowBytes is what a message counts beside its payload.
	rowBytes = 256
)

func weight(msgs []*store.Message) int {
	sum := 0
	for _, m := range msgs {
		sum += rowBytes + len(m.Payload)
	}
	return sum
}

// groupRecords lets batches share transactions. Of each it returns how many messages were inserted.
func (db *DB) groupRecords() *groupcommit.Group[[]*store.Message, int] {
	return &groupcommit.Group[[]*store.Message, int]{
		Run:      db.recordTogether,
		Size:     weight,
		MaxSize:  groupBytes,
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
	size := 0
	for _, m := range msgs {
		size += len(m.Payload)
	}
	payloads := make([]byte, 0, size)
	copies := make([]store.Message, len(msgs))
	pointers := make([]*store.Message, len(msgs))
	for i, m := range msgs {
		copies[i] = *m
		start := len(payloads)
		payloads = append(payloads, m.Payload...)
		copies[i].Payload = payloads[start:]
		if m.Alert != nil {
			alert := *m.Alert
			copies[i].Alert = &alert
		}
		pointers[i] = &copies[i]
	}
	return pointers
}
