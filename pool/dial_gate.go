package pool

import (
	"context"
	"fmt"
	"sync"
)

// dialGate bounds how many connections are being made to one address at the same time, TLS handshakes included. Addresses don't hold
// up one another.
type dialGate struct {
	limit int

	mu    sync.Mutex // guards gates and gate.users
	gates map[string]*gate
}

type gate struct {
	slots chan struct{}
	users int // inside or waiting; the last one removes the gate
}

func newDialGate(limit int) *dialGate {
	return &dialGate{limit: limit, gates: make(map[string]*gate)}
}

// enter waits for a slot until ctx ends. The caller is to call leave.
func (d *dialGate) enter(ctx context.Context, addr string) (leave func(), err error) {
	d.mu.Lock()
	g := d.gates[addr]
	if g == nil {
		g = &gate{slots: make(chan struct{}, d.limit)}
		d.gates[addr] = g
	}
	g.users++
	d.mu.Unlock()
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots; d.done(addr, g) }, nil
	case <-ctx.Done():
		d.done(addr, g)
		return nil, fmt.Errorf("pool: %d connections to %s are being made already: %w", d.limit, addr, context.Cause(ctx))
	}
}

func (d *dialGate) done(addr string, g *gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(d.gates, addr)
	}
}
