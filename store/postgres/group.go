package postgres

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	smallRows  = copyRows
	smallBytes = 1 << 20

	// groupRows is how many messages a shared transaction takes; the last caller's may go beyond it.
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

// group lets small batches share transactions. Who finds fewer than groups of them under way starts one, at once; who comes
// later waits and goes with the next, together with all others that wait.
type group struct {
	mu      sync.Mutex // guards all below
	waiting []*caller
	running int
}

// caller is one small batch.
type caller struct {
	ctx      context.Context //nolint:containedctx // of the call, for as long as it lasts
	msgs     []*store.Message
	inserted int
	err      error
	done     chan struct{} // closed when inserted and err are set
}

// record stores a batch together with those of others. The transaction ends when all who wait for it have gone.
func (g *group) record(ctx context.Context, db *DB, msgs []*store.Message) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c := &caller{ctx: ctx, msgs: cloned(msgs), done: make(chan struct{})}
	if g.join(c) {
		go g.run(db) //nolint:contextcheck // it goes on for others when this caller has gone
	}
	select {
	case <-c.done:
		if c.err != nil && ctx.Err() != nil {
			return 0, ctx.Err() // the cause: that all callers have gone is how it got here
		}
		return c.inserted, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// join reports whether the caller is to start a run.
func (g *group) join(c *caller) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, c)
	if g.running == groups {
		return false
	}
	g.running++
	return true
}

// run commits groups until nobody waits.
func (g *group) run(db *DB) {
	for callers := g.next(); len(callers) > 0; callers = g.next() {
		db.recordTogether(callers)
	}
}

// next takes callers out of the queue, or ends the run.
func (g *group) next() []*caller {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(c *caller) bool { return c.ctx.Err() != nil })
	n, rows := 0, 0
	for n < len(g.waiting) && rows < groupRows {
		rows += len(g.waiting[n].msgs)
		n++
	}
	if n == 0 {
		g.running--
	}
	callers := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return callers
}

// recordTogether stores the batches of all callers in one transaction, or each alone where the server holds something
// against what one of them gave.
func (db *DB) recordTogether(callers []*caller) {
	ctx, cancel := untilAllLeft(callers)
	defer cancel()
	msgs, owners := merged(callers)
	fresh, err := db.insert(ctx, msgs)
	for i, f := range fresh {
		if f {
			owners[i].inserted++
		}
	}
	alone := err != nil && len(callers) > 1 && !store.IsTransient(wrap("record", err)) && ctx.Err() == nil
	for _, c := range callers {
		c.err = err
		if alone {
			fresh, err := db.insert(c.ctx, c.msgs)
			c.inserted, c.err = count(fresh), err
		}
		close(c.done)
	}
}

// untilAllLeft is a context that ends with the last one of the callers'.
func untilAllLeft(callers []*caller) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(callers[0].ctx))
	var left atomic.Int64
	stops := make([]func() bool, len(callers))
	for i, c := range callers {
		stops[i] = context.AfterFunc(c.ctx, func() {
			if left.Add(1) == int64(len(callers)) {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// merged are the messages of all callers, sorted by key. Of the same message the first caller is the owner.
func merged(callers []*caller) (msgs []*store.Message, owners []*caller) {
	type owned struct {
		*store.Message
		owner *caller
	}
	var all []owned
	for _, c := range callers {
		for _, m := range c.msgs {
			all = append(all, owned{m, c})
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
