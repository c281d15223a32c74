package queue

import (
	"context"
	"errors"
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
	q.crew.word.Store(q.fullCrew())
	if q.Len() > 0 {
		q.wake()
	}
	<-ctx.Done()
	return q.drain(cancel)
}

// fullCrew is the word of a crew in which nobody works.
func (q *Queue[T, R]) fullCrew() int64 { return int64(q.cfg.Concurrency) * availableOne }

func (q *Queue[T, R]) drain(cancel context.CancelCauseFunc) error {
	for _, s := range q.shards {
		s.shut()
	}
	q.draining.Store(true)
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

// dismiss takes the whole crew away, so that no worker starts ever again. It fails while there is work, or a worker.
func (q *Queue[T, R]) dismiss() bool {
	return q.Len() == 0 && q.crew.word.CompareAndSwap(q.fullCrew(), 0)
}

// dropWaiting resolves the tickets of all jobs that wait, and returns their number.
func (q *Queue[T, R]) dropWaiting() int {
	n := 0
	for _, s := range q.shards {
		for dropped := s.dropAll(); dropped.len > 0; dropped.drop() {
			n++
			e := dropped.front()
			ticket := e.ticket
			if e.job.ID != "" {
				ticket = q.idsOf(e.job.ID).leave(e.job.ID)
			}
			if ticket != nil {
				var none R
				ticket.resolve(none, errDropped)
			}
		}
	}
	return n
}

// busy lists the tasks whose handlers run.
func (q *Queue[T, R]) busy() []StuckTask {
	q.crew.mu.Lock()
	defer q.crew.mu.Unlock()
	defer q.lockAll()()
	var tasks []StuckTask
	for _, w := range q.crew.all {
		if w.busy {
			tasks = append(tasks, StuckTask{ID: w.id, Queued: q.epoch.Add(w.queued)})
		}
	}
	return tasks
}
