package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

// probe is how often a tracker is asked that can't be reached.
const probe = time.Second

// run keeps the lease, takes over what others have left, and writes what becomes of it, until ctx ends.
func (l *ledger[T, R]) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { l.keepJournal(ctx) })
	wg.Go(func() { l.sample(ctx) })
	defer wg.Wait()
	for {
		pause := backoff.Shorten(l.q.cfg.Lease/3, 0.2, rand.Float64())
		if err := l.renew(ctx); err != nil {
			l.q.cfg.Logger.Warn("queue: lease not renewed", "queue", l.q.cfg.Name, "error", err)
			pause = min(pause, probe)
		}
		renewal := time.Now().Add(pause)
		for l.takeOverSoon(ctx) && time.Until(renewal) > probe {
			if !sleep(ctx, probe) {
				return
			}
		}
		if !sleep(ctx, time.Until(renewal)) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// renew renews the lease, and looks for what may be ours without our knowing.
func (l *ledger[T, R]) renew(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, trackerPatience)
	defer cancel()
	err := guarded(func() error {
		if err := l.hold(call); err != nil {
			return err
		}
		return l.lookForUnknown(call)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// takeOverSoon takes over what others have left, and says whether there may be more of it than there was room for.
func (l *ledger[T, R]) takeOverSoon(ctx context.Context) (more bool) {
	l.sendHome()
	if l.q.draining.Load() || l.outage.Load() {
		return len(l.guests) > 0
	}
	call, cancel := context.WithTimeout(ctx, trackerPatience)
	defer cancel()
	err := guarded(func() (err error) {
		more, err = l.takeOver(call)
		return err
	})
	if err != nil && ctx.Err() == nil {
		l.q.cfg.Logger.Warn("queue: nothing taken over", "queue", l.q.cfg.Name, "error", err)
	}
	return more || len(l.guests) > 0
}

func (l *ledger[T, R]) hold(ctx context.Context) error {
	lapsed, err := l.tracker.Hold(ctx, l.q.cfg.Name, l.owner, l.q.cfg.Lease)
	if err != nil {
		l.down(err)
		return err
	}
	l.up()
	if lapsed && l.held.Load() {
		l.q.cfg.Logger.Warn("queue: the lease had run out: finding out what others have taken over", "queue", l.q.cfg.Name)
		l.rewriteAll()
	}
	l.held.Store(true)
	return nil
}

// rewriteAll has all that is unfinished written again: the tracker then tells what is somebody else's.
func (l *ledger[T, R]) rewriteAll() {
	for _, x := range l.q.ids {
		for _, t := range x.all() {
			t.mu.Lock()
			mine := t.state != accepting && t.more != nil && t.more.row != nil
			t.mu.Unlock()
			if mine {
				l.change(t, func(*row) {})
			}
		}
	}
}

// takeOver takes what others have left unfinished, as much as there is room for.
func (l *ledger[T, R]) takeOver(ctx context.Context) (more bool, err error) {
	for {
		places, n := l.q.reserveAll(commitSize)
		last := n == 0
		if n > 0 && len(l.left) == 0 {
			l.left, err = l.tracker.Unfinished(ctx, l.q.cfg.Name, l.owner, n) // perhaps more than n, if an answer was lost
			last = len(l.left) < n
		}
		for ; n > 0 && len(l.left) > 0; l.left = l.left[1:] {
			n -= l.recover(&l.left[0], places)
		}
		for i, p := range places {
			l.q.shards[i].release(p)
		}
		l.q.tellEnd()
		if err != nil || last {
			return err == nil && n == 0, err
		}
	}
}

// reserveAll keeps up to n places, or one in each shard, and returns how many in which.
func (q *Queue[T, R]) reserveAll(n int) (places []int, total int) {
	places = make([]int, len(q.shards))
	for i, s := range q.shards {
		places[i], _ = s.reserve(max(1, n/len(q.shards))) // none once it is closed
		total += places[i]
	}
	return places, total
}

// recover puts a job in line that another process, or this one in an earlier life, has accepted. It takes one of places, of which there is one, and returns how
// many it has taken.
func (l *ledger[T, R]) recover(r *TrackedRequest, places []int) int {
	q := l.q
	e, err := l.restore(r)
	t := e.ticket
	from := slices.IndexFunc(places, func(p int) bool { return p > 0 })
	home := from
	if r.Key != "" { // its shard is given
		home = q.hash(r.Key)
	}
	if places[home] > 0 {
		from = home
	}
	t.shard = int32(from)
	if known, _ := q.idsOf(r.ID).join(t, func() error { return nil }); known != t {
		return 0 // it is here already
	}
	places[from]--
	l.count.recovered.Add(1)
	switch {
	case err != nil:
		t.state = ended
		close(t.more.row.accepted)
		var none R
		q.conclude(t, failed, none, err)
		l.giveUp(t)
	case from != home || l.hasGuestsOf(home):
		l.lodge(&e, r.Key, home)
	default:
		l.admit(&e)
	}
	return 1
}

// restore makes of a request what it was. The attempt that was cut short isn't held against it.
func (l *ledger[T, R]) restore(r *TrackedRequest) (e entry[T, R], err error) {
	kept := *r
	kept.Payload, kept.Steps, kept.Worker = nil, nil, l.owner
	t := &Ticket[R]{id: r.ID, queue: l.q, state: accepting}
	t.more = &particulars{deadline: r.Deadline, row: &row{request: kept, accepted: make(chan struct{})}}
	if len(r.Steps) > 0 {
		t.book = &book{records: r.Steps, note: func() { l.noteStep(t) }}
	}
	tried := r.Attempts
	if r.Status == StatusProcessing {
		tried--
	}
	e = entry[T, R]{ticket: t, queued: l.q.now(), priority: int16(min(maxPriority, max(-maxPriority, r.Priority)))}
	e.attempt, e.attempts = uint16(max(0, min(tried, maxAttempts))), uint16(max(0, min(r.MaxAttempts, maxAttempts)))
	if err := json.Unmarshal(r.Payload, &e.payload); err != nil {
		return e, fmt.Errorf("queue: the payload of %q can't be read: %w", r.ID, err)
	}
	return e, nil
}

// lookForUnknown finds out about the jobs whose commit was cut short: those that were stored are run. One that isn't found might still be on its way:
// it is given up when it isn't found later, either.
func (l *ledger[T, R]) lookForUnknown(ctx context.Context) error {
	l.mu.Lock()
	ids := make([]string, 0, len(l.unknown))
	for id := range l.unknown {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	for _, id := range ids {
		r, found, err := l.tracker.Request(ctx, l.q.cfg.Name, id)
		if err != nil {
			return err
		}
		ours := found && !final(r.Status) && r.Owner == l.owner
		if ours && l.q.idsOf(id).find(id) == nil {
			l.left = append(l.left, r)
		}
		l.mu.Lock()
		if l.unknown[id]++; found || l.unknown[id] > unknownLooks {
			delete(l.unknown, id)
		}
		l.mu.Unlock()
	}
	return nil
}

// unknownLooks is how often a job whose commit was cut short is looked for, after the first time: for more than a lease.
const unknownLooks = 4
