package queue

import "slices"

// guest is a job with a Key that was taken over while its key's shard, its home, was full: it keeps a place in another until there is room at home.
// Of all guests the ledger's run has the list, in the order of their acceptance.
type guest[R any] struct {
	ticket *Ticket[R]
	key    string
	home   int
}

// lodge makes a job a guest of the shard in which it has a place. It stands there as those do that wait for their next attempt.
func (l *ledger[T, R]) lodge(e *entry[T, R], key string, home int) {
	t, s := e.ticket, l.q.shards[e.ticket.shard]
	s.in.Lock()
	dropped := s.in.dropped
	if dropped {
		s.in.held--
	} else {
		t.mu.Lock()
		t.state = delayed
		t.mu.Unlock()
		s.setAsideLocked(t, &attempt[T, R]{entry: *e})
	}
	s.in.Unlock()
	close(t.more.row.accepted)
	if dropped {
		l.dropped(t)
		return
	}
	l.guests = append(l.guests, guest[R]{t, key, home})
	l.q.limit(t)
}

// hasGuestsOf says whether jobs wait for room in that shard: no other of its keys may pass them.
func (l *ledger[T, R]) hasGuestsOf(home int) bool {
	return slices.ContainsFunc(l.guests, func(g guest[R]) bool { return g.home == home })
}

// sendHome moves guests for whom there is room now.
func (l *ledger[T, R]) sendHome() {
	full := make([]bool, len(l.q.shards))
	lodgers := make([][]*Ticket[R], len(l.q.shards))
	for _, g := range l.guests {
		lodgers[g.ticket.shard] = append(lodgers[g.ticket.shard], g.ticket)
	}
	l.guests = slices.DeleteFunc(l.guests, func(g guest[R]) bool {
		full[g.home] = full[g.home] || !l.q.move(g, lodgers)
		return !full[g.home]
	})
}

// move takes a guest home, if it still is one, and reports false if there is no room. A guest there changes places with it: else two shards that are
// full of each other's guests would stay so.
func (q *Queue[T, R]) move(g guest[R], lodgers [][]*Ticket[R]) bool {
	t := g.ticket
	from, to := q.shards[t.shard], q.shards[g.home]
	unlock := lockBoth(from, to)
	a := from.in.delayed[t]
	to.in.seen = to.out.taken + to.out.dead
	if a == nil || to.in.dropped || from != to && to.roomLocked() <= 0 && !to.swapGuestLocked(from, lodgers) {
		unlock()
		return a == nil
	}
	from.relodgeLocked(t, to, waiting)
	to.enterLocked(&a.entry, g.key, q.clock)
	unlock()
	from.tellRoom()
	q.wake()
	return true
}

// relodgeLocked takes a guest out, to another shard.
func (s *shard[T, R]) relodgeLocked(t *Ticket[R], to *shard[T, R], as state) {
	delete(s.in.delayed, t)
	s.in.held--
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shard, t.state = int32(to.index), as
}

// swapGuestLocked has one of the shard's guests go to another, if there is one.
func (s *shard[T, R]) swapGuestLocked(to *shard[T, R], lodgers [][]*Ticket[R]) bool {
	here := &lodgers[s.index]
	for len(*here) > 0 {
		t := (*here)[0]
		*here = (*here)[1:]
		if a := s.in.delayed[t]; a != nil && a.timer == nil { // else it was one
			s.relodgeLocked(t, to, delayed)
			to.setAsideLocked(t, a)
			to.in.held++
			lodgers[to.index] = append(lodgers[to.index], t)
			return true
		}
	}
	return false
}

// lockBoth locks two shards, or one, in the order of lockAll.
func lockBoth[T, R any](a, b *shard[T, R]) (unlock func()) {
	if a.index > b.index {
		a, b = b, a
	}
	a.out.Lock()
	a.in.Lock()
	if a != b {
		b.out.Lock()
		b.in.Lock()
	}
	return func() {
		if a != b {
			b.in.Unlock()
			b.out.Unlock()
		}
		a.in.Unlock()
		a.out.Unlock()
	}
}
