package queue

import (
	"context"
	"errors"
	"sync"
	"time"
)

// stuckGrace is how long cancelled handlers have to return before Run goes without them.
const stuckGrace = 5 * time.Second

// Run handles jobs until ctx ends, then drains: new jobs are refused, accepted ones are finished until
// Config.DrainTimeout. It blocks, and may be called once.
//
// It returns nil if all that was accepted was also handled, else a [*DrainError]. When it returns, every goroutine of
// the queue has ended, save those whose handlers ignore their context: the error names these.
func (q *Queue[T, R]) Run(ctx context.Context) error {
	if !q.started.CompareAndSwap(false, true) {
		return errors.New("queue: Run was called before: it may be called once")
	}
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	q.work = work
	background, stop := context.WithCancel(work)
	var wg sync.WaitGroup
	wg.Go(func() { q.monitor(background) })
	if q.ledger != nil {
		wg.Go(func() { q.ledger.run(background) })
	}
	q.crew.change(func() { q.crew.started = true })
	q.wakeIfReady()
	<-ctx.Done()
	err := q.drain(cancel)
	stop()
	wg.Wait()
	if q.ledger == nil {
		return err
	}
	if unrecorded := q.ledger.close(context.WithoutCancel(ctx)); unrecorded != nil {
		return errors.Join(err, unrecorded)
	}
	return err
}

func (q *Queue[T, R]) drain(cancel context.CancelCauseFunc) error {
	q.draining.Store(true)
	for _, s := range q.shards {
		s.shut()
	}
	timeout, begin := max(0, q.cfg.DrainTimeout), q.Stats()
	q.cfg.Logger.Info("queue: draining", "waiting", begin.Waiting, "active", begin.Active, "timeout", timeout)
	if q.idleWithin(timeout) {
		return nil
	}
	report := &DrainError{Timeout: timeout, NotRun: q.dropWaiting()}
	late := q.Stats().Active
	cancel(ErrDrainTimeout)
	if !q.idleWithin(stuckGrace) {
		report.Stuck = q.busy()
	}
	report.Cancelled = late - len(report.Stuck)
	if report.NotRun+late == 0 { // the last handler returned at the last moment
		return nil
	}
	q.cfg.Logger.Warn("queue: drain timed out", "not_run", report.NotRun, "cancelled", report.Cancelled, "stuck", len(report.Stuck))
	return report
}

// idleWithin waits until all work is done and all workers have ended, and reports false if that takes too long.
func (q *Queue[T, R]) idleWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !q.dismiss() {
		select {
		case <-q.ended:
		case <-timer.C:
			return q.dismiss()
		}
	}
	return true
}

// dropWaiting resolves the tickets of all jobs that wait, and returns their number.
func (q *Queue[T, R]) dropWaiting() int {
	n := 0
	for _, s := range q.shards {
		tickets, dropped := s.drop()
		n += dropped
		for _, t := range tickets {
			var none R
			q.conclude(t, counted, none, errDropped)
		}
	}
	return n
}

// drop takes out all that waits. It returns the tickets of those who have one, and the number of all.
func (s *shard[T, R]) drop() (tickets []*Ticket[R], n int) {
	s.out.Lock()
	defer s.out.Unlock()
	s.in.Lock()
	defer s.in.Unlock()
	s.in.dropped = true
	drop := func(t *Ticket[R]) {
		if t != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.state == ended {
				return
			}
			t.state = ended
			tickets = append(tickets, t)
		}
		n++
	}
	lines := []*fifo[entry[T, R]]{&s.out.line, &s.in.line}
	for _, r := range s.out.ranks {
		lines = append(lines, &r.line)
	}
	for _, line := range lines {
		for ; line.len > 0; line.drop() {
			drop(line.front().ticket)
		}
	}
	for _, l := range s.in.lanes.byKey {
		for ; l.first != nil; l.first = l.first.next {
			drop(l.first.entry.ticket)
			s.in.held--
		}
		l.last = nil
	}
	for t, a := range s.in.delayed {
		a.stop()
		drop(t)
		s.in.held--
	}
	s.in.delayed = nil
	s.out.taken, s.out.dead = s.in.lined, 0
	s.out.tally.notRun += int64(n)
	return tickets, n
}

// busy lists the tasks whose handlers run.
func (q *Queue[T, R]) busy() []StuckTask {
	q.crew.mu.Lock()
	defer q.crew.mu.Unlock()
	defer q.lockAll()()
	var tasks []StuckTask
	for _, w := range q.crew.all {
		if w.busy {
			tasks = append(tasks, q.stuckTask(w))
		}
	}
	return tasks
}
