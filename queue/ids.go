package queue

import "sync"

// ids is a part of the index of unfinished jobs that have an ID. It has their tickets too: one that nobody has asked
// for yet can still be made for the second who submits the ID.
type ids[R any] struct {
	mu         sync.Mutex
	unfinished map[string]*Ticket[R]
}

// join runs push for an ID that is not in the index and then enters it with the ticket. For one that is, it reports
// the first job's ticket. wanted says whether a ticket is asked for; without it both may be nil.
func (x *ids[R]) join(id string, wanted bool, push func() error) (ticket *Ticket[R], joined bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ticket, joined = x.unfinished[id]
	if ticket == nil && wanted {
		ticket = new(Ticket[R])
	}
	if !joined {
		if err := push(); err != nil {
			return nil, false, err
		}
	}
	x.unfinished[id] = ticket
	return ticket, joined, nil
}

// leave removes an ID and returns its ticket, or nil if nobody holds one.
func (x *ids[R]) leave(id string) *Ticket[R] {
	x.mu.Lock()
	defer x.mu.Unlock()
	ticket := x.unfinished[id]
	delete(x.unfinished, id)
	return ticket
}
