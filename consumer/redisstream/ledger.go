package redisstream

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// ledger knows which entries of a stream are with this consumer. Safe for concurrent use.
type ledger struct {
	keep time.Duration // of parked

	mu      sync.Mutex
	batches []*batch             // with open entries, and some that have none any more
	parked  map[string]time.Time // given back to be tried again, and when: after keep, another consumer has taken it over
	last    entryID              // the highest that the group has delivered, as far as is known
	known   bool                 // last has been set
	out     int                  // entries that the consumer was given and didn't settle yet, lost ones included
}

// batch is what one read brought.
type batch struct {
	lane    *lane
	entries []entry
	open    int       // how many of them are not settled
	touched time.Time // when their lease began
}

// entry is the consumer.Raw.Token of its message, and its Headers.
type entry struct {
	batch   *batch
	id      string
	fields  flat
	settled bool // or lost
	back    bool // it isn't counted in out
	buried  bool // its letter is stored, but it isn't acked yet; for the goroutine that settles
}

// Header returns the field of that name.
func (e *entry) Header(name string) string { return string(e.fields.get(name)) }

// add records a batch that was received just now.
func (l *ledger) add(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.open, b.touched = len(b.entries), time.Now()
	l.out += b.open
	l.batches = slices.DeleteFunc(l.batches, func(b *batch) bool { return b.open == 0 })
	l.batches = append(l.batches, b)
	for i := range b.entries {
		delete(l.parked, b.entries[i].id)
	}
}

// delivered moves last forward.
func (l *ledger) delivered(id entryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = true
	if id.compare(l.last) > 0 {
		l.last = id
	}
}

// newest is the highest id that the group has delivered. It reports false if nothing is known.
func (l *ledger) newest() (entryID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.known
}

// rewind is for a server that has forgotten what was delivered after id.
func (l *ledger) rewind(id entryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = id
}

// waiting returns the ids of what was parked.
func (l *ledger) waiting() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.parked))
}

// forget is for what was parked and isn't there any more.
func (l *ledger) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parked, id)
}

// settle records that entries are no longer held.
func (l *ledger) settle(entries []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.settleLocked(e)
	}
}

// back records that the consumer is done with entries.
func (l *ledger) back(lists ...[]*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Concat(lists...) {
		if !e.back {
			e.back = true
			l.out--
		}
	}
}

// outside is how many entries the consumer isn't done with.
func (l *ledger) outside() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out
}

// drop takes all open entries for lost and returns their ids.
func (l *ledger) drop() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range l.openLocked {
		ids = append(ids, e.id)
		l.settleLocked(e)
	}
	return ids
}

func (l *ledger) settleLocked(e *entry) {
	if !e.settled {
		e.settled = true
		e.batch.open--
	}
}

// park is settle for entries that are to come again.
func (l *ledger) park(entries []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.settleLocked(e)
		l.parked[e.id] = time.Now()
	}
}

// unpark forgets what was parked.
func (l *ledger) unpark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.parked)
}

// held returns the ids of all open entries and, if asked for, of the parked ones.
func (l *ledger) held(withParked bool) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]bool{}
	for e := range l.openLocked {
		ids[e.id] = true
	}
	for id := range l.parked {
		if withParked {
			ids[id] = true
		}
	}
	return ids
}

// expiring returns the open entries whose lease began at least age ago. Called regularly, it also forgets what was parked long ago.
func (l *ledger) expiring(age time.Duration) (entries []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.parked, func(_ string, since time.Time) bool { return time.Since(since) > l.keep })
	for e := range l.openLocked {
		if time.Since(e.batch.touched) >= age {
			entries = append(entries, e)
		}
	}
	return entries
}

// renewed records a new lease for the batches of these entries, that began at since. Those that are lost are held no longer.
func (l *ledger) renewed(entries []*entry, since time.Time, lost map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		e.batch.touched = since
		if lost[e.id] {
			l.settleLocked(e)
		}
	}
}

// lowest returns the lowest id that is not known to be settled. It reports false if nothing is known at all.
func (l *ledger) lowest() (entryID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	low := l.last
	lower := func(s string) {
		if id, ok := parseID(s); ok && id.compare(low) < 0 {
			low = id
		}
	}
	for e := range l.openLocked {
		lower(e.id)
	}
	for id := range l.parked {
		lower(id)
	}
	return low, l.known
}

func (l *ledger) openLocked(yield func(*entry) bool) {
	for _, b := range l.batches {
		for i := range b.entries {
			if e := &b.entries[i]; !e.settled && !yield(e) {
				return
			}
		}
	}
}
