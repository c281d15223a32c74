// Package groupcommit is group commit: calls that come while others are under way share the next transaction.
package groupcommit

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// Group gathers calls. Set the exported fields before the first Do; none changes after that.
type Group[In, Out any] struct {
	// Run handles several calls at once and returns an outcome for each, in their order. Its context ends when nobody waits
	// for it any more.
	Run func(ctx context.Context, calls []In) ([]Out, error)

	// Size is what a call counts against MaxSize, which bounds the calls that share a Run. One call alone may exceed it.
	Size    func(In) int
	MaxSize int

	// Parallel is how many Runs may be under way at once.
	Parallel int

	// Blames says that an error of Run is the fault of one of the calls: each is run alone then.
	Blames func(error) bool

	mu      sync.Mutex // guards what follows
	waiting []*call[In, Out]
	running int
}

type call[In, Out any] struct {
	ctx   context.Context
	in    In
	batch *batch // nil while it waits; guarded by Group.mu
	out   Out
	err   error
	done  chan struct{} // closed when out and err are set
}

// batch is what one Run handles.
type batch struct {
	interested int // calls whose callers still wait; guarded by Group.mu
	cancel     context.CancelFunc
}

// Do returns the outcome of in. It blocks until that is there or ctx ends: then it returns at once, whether or not the call is
// carried out with those of others.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	c := &call[In, Out]{ctx: ctx, in: in, done: make(chan struct{})}
	if ctx.Err() != nil {
		return c.out, ended(ctx)
	}
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	if g.running < g.Parallel {
		g.running++
		go g.work() //nolint:contextcheck // it goes on for others when this caller has gone
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		g.leave(c)
		var none Out
		return none, ended(ctx)
	}
}

func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() { //nolint:errorlint // is it the same one?
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// Waiting is how many calls wait for one that is under way.
func (g *Group[In, Out]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

func (g *Group[In, Out]) leave(c *call[In, Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.batch == nil {
		g.waiting = slices.DeleteFunc(g.waiting, func(other *call[In, Out]) bool { return other == c })
		return
	}
	if c.batch.interested--; c.batch.interested == 0 {
		c.batch.cancel()
	}
}

// work runs batches until nobody waits.
func (g *Group[In, Out]) work() {
	for {
		calls, ctx, cancel := g.take()
		if calls == nil {
			return
		}
		g.run(ctx, calls)
		cancel()
		// Those who were just answered may come again at once: they are let go first, or they would miss the next Run, and all Runs
		// would be half as large as they could be.
		runtime.Gosched()
	}
}

// take moves calls from the waiting line into a batch, or ends the worker.
func (g *Group[In, Out]) take() ([]*call[In, Out], context.Context, context.CancelFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.running--
		return nil, nil, nil
	}
	n, size := 0, 0
	for ; n < len(g.waiting); n++ {
		if size += g.Size(g.waiting[n].in); n > 0 && size > g.MaxSize {
			break
		}
	}
	calls := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	b := &batch{interested: n, cancel: cancel}
	for _, c := range calls {
		c.batch = b
	}
	return calls, ctx, cancel
}

func (g *Group[In, Out]) run(ctx context.Context, calls []*call[In, Out]) {
	inputs := make([]In, len(calls))
	for i, c := range calls {
		inputs[i] = c.in
	}
	outs, err := g.Run(ctx, inputs)
	if err != nil && len(calls) > 1 && g.Blames(err) {
		for i := range calls {
			g.run(ctx, calls[i:i+1])
		}
		return
	}
	for i, c := range calls {
		if c.err = err; err == nil {
			c.out = outs[i]
		}
		close(c.done)
	}
}
