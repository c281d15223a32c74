package consumer

import "sync"

// budget is what may still be received. Readers reserve credit, spend some of it on messages and give the rest back; what was
// spent comes back when those are settled. Safe for concurrent use.
type budget struct {
	share Credit // at most what one reservation gets

	mu     sync.Mutex
	cond   sync.Cond // there may be credit, or closed
	free   Credit    // below zero when a source delivered more than it was asked for
	spent  Credit
	held   reason
	closed bool
}

func newBudget(total Credit, readers int) *budget {
	r := max(1, readers)
	b := &budget{free: total, share: Credit{Count: max(1, total.Count/r), Bytes: max(1, total.Bytes/int64(r))}}
	b.cond.L = &b.mu
	return b
}

// reserve waits for credit. It reports false once the budget is closed.
func (b *budget) reserve() (Credit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && (b.held != 0 || b.free.Count < 1 || b.free.Bytes < 1) {
		b.cond.Wait()
	}
	c := Credit{Count: min(b.share.Count, b.free.Count), Bytes: min(b.share.Bytes, b.free.Bytes)}
	if b.closed {
		return Credit{}, false
	}
	b.moveLocked(c, -1)
	return c, true
}

// spend turns a reservation into what was received.
func (b *budget) spend(reserved, received Credit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moveLocked(reserved, +1)
	b.moveLocked(received, -1)
	b.spent.Count += received.Count
	b.spent.Bytes += received.Bytes
}

// refund is for what was settled.
func (b *budget) refund(c Credit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moveLocked(c, +1)
	b.spent.Count -= c.Count
	b.spent.Bytes -= c.Bytes
}

func (b *budget) moveLocked(c Credit, sign int) {
	b.free.Count += sign * c.Count
	b.free.Bytes += int64(sign) * c.Bytes
	if sign > 0 {
		b.cond.Broadcast()
	}
}

// inFlight is what was received and not yet settled.
func (b *budget) inFlight() Credit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent
}

// hold keeps reserve from returning for a reason, or takes that back.
func (b *budget) hold(why reason, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = b.held.with(why, on)
	b.cond.Broadcast()
}

// close ends all reservations.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.cond.Broadcast()
}
