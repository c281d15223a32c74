package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

const (
	// commitSize is how many jobs share a commit at most, commitBytes how large their payloads are together.
	commitSize  = 1000
	commitBytes = 8 << 20

	// maxCommitters is how many commits are on their way at once.
	maxCommitters = 4

	// trackerPatience is how long one call of the tracker may take.
	trackerPatience = 10 * time.Second
)

// commit has jobs stored as soon as may be: with all others that come while the commits before them are on their way.
func (l *ledger[T, R]) commit(as ...*acceptance[T, R]) {
	if len(as) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, as...)
	if l.committers < maxCommitters {
		l.committers++
		go l.commitPending()
	}
}

func (l *ledger[T, R]) commitPending() {
	for batch := l.nextCommit(); batch != nil; batch = l.nextCommit() {
		l.store(batch)
	}
}

// nextCommit takes a batch of what is pending. If nothing is, there is one committer less.
func (l *ledger[T, R]) nextCommit() []*acceptance[T, R] {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < min(len(l.pending), commitSize) && size < commitBytes {
		size += len(l.pending[n].request.Payload)
		n++
	}
	if n == 0 {
		l.committers--
		l.pending = nil
		return nil
	}
	batch := l.pending[:n:n]
	l.pending = l.pending[n:]
	return batch
}

// store commits a batch and tells everyone in it how that went.
func (l *ledger[T, R]) store(batch []*acceptance[T, R]) {
	if l.outage.Load() { // it began while these were waiting
		for _, a := range batch {
			l.acceptInOutage(a)
		}
		return
	}
	requests := make([]TrackedRequest, len(batch))
	for i, a := range batch {
		requests[i] = a.request
	}
	known, err := l.tryStore(requests)
	switch {
	case err == nil:
		l.stored(batch, known)
	case isTransient(err):
		l.storeUnknown(batch, err)
	case len(batch) == 1:
		l.refuse(batch[0].entry.ticket, fmt.Errorf("queue: not stored: %w", err))
	default: // one of them isn't as the tracker wants it: none was stored
		for _, a := range batch {
			l.store([]*acceptance[T, R]{a})
		}
	}
}

func (l *ledger[T, R]) tryStore(requests []TrackedRequest) (known []TrackedRequest, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), trackerPatience)
	defer cancel()
	err = guarded(func() (err error) {
		if !l.held.Load() { // before Run
			if err := l.hold(ctx); err != nil {
				return err
			}
		}
		known, err = l.tracker.Accept(ctx, l.owner, requests)
		return err
	})
	return known, err
}

func (l *ledger[T, R]) stored(batch []*acceptance[T, R], known []TrackedRequest) {
	for _, a := range batch {
		i := slices.IndexFunc(known, func(r TrackedRequest) bool { return r.ID == a.request.ID })
		if i < 0 {
			l.count.accepted.Add(1)
			l.admit(&a.entry)
			continue
		}
		switch r := known[i]; {
		case final(r.Status):
			l.recall(a.entry.ticket, &r)
		case r.Owner == l.owner: // an earlier commit was cut short, but had come through
			l.count.accepted.Add(1)
			l.admit(&a.entry)
		default:
			l.refuse(a.entry.ticket, fmt.Errorf("%w: %q of owner %q", ErrElsewhere, r.ID, r.Owner))
		}
	}
}

// recall tells the outcome that was recorded for a job.
func (l *ledger[T, R]) recall(t *Ticket[R], r *TrackedRequest) {
	var result R
	var err error
	switch r.Status {
	case StatusCompleted:
		if r.Result != nil {
			err = json.Unmarshal(r.Result, &result)
		}
	case StatusCancelled:
		err = fmt.Errorf("%w: %s", ErrCancelled, r.Error)
	default:
		err = &RecordedError{r.Error}
	}
	t.mu.Lock()
	t.state = ended
	t.book = &book{records: r.Steps}
	t.mu.Unlock()
	l.q.idsOf(t.id).leave(t)
	l.giveUp(t)
	close(t.more.row.accepted)
	t.resolve(result, err)
}

// storeUnknown is for a batch that may be stored or not. What nobody is told to be accepted is looked for later: if it
// was stored, it is ours to run.
func (l *ledger[T, R]) storeUnknown(batch []*acceptance[T, R], err error) {
	l.down(err)
	for _, a := range batch {
		if l.q.cfg.AcceptUntracked {
			l.acceptUntracked(a)
			continue
		}
		l.mu.Lock()
		l.unknown[a.request.ID] = 0
		l.mu.Unlock()
		l.count.refused.Add(1)
		l.refuse(a.entry.ticket, fmt.Errorf("%w: %w", ErrUnknown, err))
	}
}

// down notes that the tracker can't be reached.
func (l *ledger[T, R]) down(err error) {
	if l.outage.CompareAndSwap(false, true) {
		l.q.cfg.Logger.Error("queue: the tracker can't be reached", "queue", l.q.cfg.Name, "error", err)
	}
}

// up notes that it can be.
func (l *ledger[T, R]) up() {
	if l.outage.CompareAndSwap(true, false) {
		l.q.cfg.Logger.Info("queue: the tracker can be reached again", "queue", l.q.cfg.Name)
	}
}
