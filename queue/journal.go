package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

const (
	journalSize     = 1000
	minJournalPause = 100 * time.Millisecond
	maxJournalPause = 5 * time.Second

	// closeGrace is how long Run goes on writing outcomes after the last handler has returned.
	closeGrace = 5 * time.Second
)

// change notes a change of the ticket's row, for the journal to write.
func (l *ledger[T, R]) change(t *Ticket[R], f func(r *row)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.changeLocked(t, f)
}

func (l *ledger[T, R]) changeLocked(t *Ticket[R], f func(r *row)) {
	r := t.more.row
	f(r)
	if r.dirty || r.lost {
		return
	}
	r.dirty = true
	l.mu.Lock()
	l.dirty = append(l.dirty, t)
	l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
}

func (l *ledger[T, R]) start(t *Ticket[R], attempt int) {
	l.change(t, func(r *row) {
		r.request.Status, r.request.Attempts, r.request.Started = StatusProcessing, attempt, time.Now()
	})
}

func (l *ledger[T, R]) noteStep(t *Ticket[R]) { l.change(t, func(*row) {}) }

// pauseLocked notes that a task will be tried again, under Ticket.mu.
func (l *ledger[T, R]) pauseLocked(t *Ticket[R], attempts int, err error) {
	l.changeLocked(t, func(r *row) {
		r.request.Status, r.request.Attempts, r.request.Error = StatusQueued, attempts, err.Error()
	})
}

// end notes a task's outcome. What a drain has kept from one has none: it is left for the next who asks.
func (l *ledger[T, R]) end(t *Ticket[R], how outcome, result R, err error) {
	q := l.q
	cut, more := false, false
	if how == failed && q.work.Err() != nil {
		cut = !IsPermanent(err) && t.context.seen() // perhaps it failed by itself: then it will do so again
		more = !cut && !IsPermanent(err) && t.more.row.attemptsLeft(q.cfg.Retry.Attempts)
	}
	if cut || more || how == counted || how == superseded {
		q.idsOf(t.id).leave(t)
		l.change(t, func(r *row) {
			r.lost = r.lost || how == superseded
			r.request.Status = StatusQueued
			if cut { // it isn't held against it
				r.request.Attempts--
			}
			if more {
				r.request.Error = err.Error()
			}
		})
		return
	}
	var text []byte
	if err == nil {
		var bad error
		if text, bad = json.Marshal(result); bad != nil {
			q.cfg.Logger.Error("queue: result can't be kept", "id", t.id, "error", bad)
		}
	}
	lost := false
	l.change(t, func(r *row) {
		r.finished, lost = true, r.lost
		r.request.Completed, r.request.Result, r.request.Error = time.Now(), text, ""
		if !r.request.Started.IsZero() {
			r.request.Processing = r.request.Completed.Sub(r.request.Started)
		}
		r.request.Status = StatusCompleted
		if err != nil {
			r.request.Error, r.request.Status = err.Error(), StatusFailed
		}
		if how == cancelled || how == expired {
			r.request.Status = StatusCancelled
		}
	})
	if lost { // nothing will be written
		q.idsOf(t.id).leave(t)
	}
}

// keepJournal writes what has changed, as long as ctx lasts: all that came since it wrote last in one go.
func (l *ledger[T, R]) keepJournal(ctx context.Context) {
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-l.written:
		}
		for l.unwritten() > 0 {
			err := l.write(ctx)
			if err == nil {
				failures = 0
				continue
			}
			failures++
			select {
			case <-ctx.Done():
				return
			case <-time.After(backoff.Exponential(failures, minJournalPause, maxJournalPause)):
			}
		}
	}
}

func (l *ledger[T, R]) unwritten() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.dirty)
}

// write writes the newest state of up to journalSize tasks. After an error they are still to be written.
func (l *ledger[T, R]) write(ctx context.Context) error {
	l.mu.Lock()
	n := min(len(l.dirty), journalSize)
	batch := l.dirty[:n:n]
	l.dirty = l.dirty[n:]
	l.mu.Unlock()
	requests := make([]TrackedRequest, len(batch))
	for i, t := range batch {
		t.mu.Lock()
		requests[i] = t.more.row.request
		requests[i].Steps = t.book.list()
		t.more.row.dirty = false
		t.mu.Unlock()
	}
	superseded, err := l.transition(ctx, requests)
	if err != nil {
		l.writeAgain(batch)
		return err
	}
	lost := make(map[string]bool, len(superseded))
	for _, id := range superseded {
		lost[id] = true
	}
	for i, t := range batch {
		l.wrote(t, requests[i].Status, lost[t.id])
	}
	return nil
}

// transition writes requests. What the tracker will never take is written as failed.
func (l *ledger[T, R]) transition(ctx context.Context, requests []TrackedRequest) (superseded []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, trackerPatience)
	defer cancel()
	err = guarded(func() (err error) {
		superseded, err = l.tracker.Transition(ctx, l.owner, requests)
		return err
	})
	switch {
	case err == nil:
		l.up()
		return superseded, nil
	case ctx.Err() != nil || isTransient(err):
		l.down(err)
		return nil, err
	case len(requests) > 1:
		for i := range requests {
			s, err := l.transition(ctx, requests[i:i+1])
			if err != nil {
				return nil, err
			}
			superseded = append(superseded, s...)
		}
		return superseded, nil
	case requests[0].Result != nil || requests[0].Steps != nil:
		l.q.cfg.Logger.Error("queue: the tracker refuses an outcome", "id", requests[0].ID, "error", err)
		requests[0].Result, requests[0].Steps = nil, nil
		if requests[0].Status == StatusCompleted {
			requests[0].Status, requests[0].Error = StatusFailed, fmt.Sprintf("queue: the result can't be kept: %s", err)
		}
		return l.transition(ctx, requests)
	default:
		return nil, err
	}
}

func (l *ledger[T, R]) writeAgain(batch []*Ticket[R]) {
	for _, t := range batch {
		l.change(t, func(*row) {})
	}
}

// wrote forgets a task whose outcome is recorded, and stops one that is somebody else's.
func (l *ledger[T, R]) wrote(t *Ticket[R], status string, lost bool) {
	t.mu.Lock()
	r := t.more.row
	lost = lost && !r.unsure
	r.lost = r.lost || lost
	forget := r.finished && (final(status) || lost)
	t.mu.Unlock()
	if lost {
		l.q.cfg.Logger.Warn("queue: superseded by another process", "queue", l.q.cfg.Name, "id", t.id)
		l.q.cancel(t, ErrSuperseded)
	}
	if forget {
		l.q.idsOf(t.id).leave(t)
	}
}

// close writes what is left and gives up the lease, so that others need not wait for what is unfinished.
func (l *ledger[T, R]) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	for l.unwritten() > 0 {
		if err := l.write(ctx); err != nil {
			select {
			case <-ctx.Done():
				return fmt.Errorf("queue: %d outcomes are not recorded: %w", l.unwritten(), err)
			case <-time.After(minJournalPause):
			}
		}
	}
	if err := guarded(func() error { return l.tracker.Release(ctx, l.q.cfg.Name, l.owner) }); err != nil {
		return errors.Join(errors.New("queue: the lease is not released"), err)
	}
	return nil
}
