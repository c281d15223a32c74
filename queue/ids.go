package queue

import (
	"maps"
	"slices"
	"sync"
)

// ids is a part of the index of unfinished jobs that have an ID, and of their tickets.
type ids[R any] struct {
	mu         sync.Mutex
	unfinished map[string]*Ticket[R]
}

// join enters a new ticket under an ID that is not in the index, and then runs push. For an ID that is there it returns
// the first job's ticket.
func (x *ids[R]) join(fresh *Ticket[R], push func() error) (first *Ticket[R], err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if first, joined := x.unfinished[fresh.id]; joined {
		return first, nil
	}
	if err := push(); err != nil {
		return nil, err
	}
	x.unfinished[fresh.id] = fresh
	return fresh, nil
}

// leave removes a ticket.
func (x *ids[R]) leave(t *Ticket[R]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.unfinished[t.id] == t {
		delete(x.unfinished, t.id)
	}
}

func (x *ids[R]) find(id string) *Ticket[R] {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.unfinished[id]
}

func (x *ids[R]) all() []*Ticket[R] {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.unfinished))
}
