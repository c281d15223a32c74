package queue

import (
	"context"
	"sync"
	"time"
)

// tick is how often the monitor looks at the queue. All that would cost every job a look at the clock is measured here.
const tick = time.Second

// monitor looks at the queue until ctx ends.
func (q *Queue[T, R]) monitor(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		q.observe()
		for _, t := range q.newlyStuck() {
			q.cfg.Logger.Warn("queue: handler seems stuck", "id", t.ID, "running", t.Running, "attempt", t.Attempt)
		}
	}
}

// observe measures the speed of each shard and the use of the workers' time, and lets some more jobs read the clock.
func (q *Queue[T, R]) observe() {
	now, active, waits, lined := q.now(), int64(0), false, int64(0)
	for _, s := range q.shards {
		s.out.Lock()
		s.in.Lock()
		idle := s.out.drain.idle
		s.out.drain.observe(now, s.depthLocked() == 0)
		active += s.out.tally.active
		lined += s.in.lined
		waits = waits || s.out.line.len+s.in.line.len > 0
		s.in.timed = timedASecond
		if idle {
			s.in.line.trim()
			s.out.line.trim()
		}
		s.in.Unlock()
		s.out.Unlock()
	}
	q.arrivals.observe(float64(lined-q.lined) / tick.Seconds())
	q.lined = lined
	limit, paused := q.crew.state()
	if waits && !paused {
		q.gauge.observe(float64(active) / float64(limit))
	}
}

// newlyStuck returns the tasks that have just run for Config.StuckAfter. Nobody reads the clock when a handler starts: the monitor notes the task that it
// finds a worker with, and finds it again.
func (q *Queue[T, R]) newlyStuck() (tasks []StuckTask) {
	if q.cfg.StuckAfter < 0 {
		return nil
	}
	now := q.now()
	q.crew.mu.Lock()
	defer q.crew.mu.Unlock()
	defer q.lockOut()()
	for _, w := range q.crew.all {
		switch {
		case !w.busy:
		case w.taken != w.watched:
			w.watched, w.since, w.stuck = w.taken, now, false
		case !w.stuck && now-w.since >= q.cfg.StuckAfter:
			w.stuck = true
			tasks = append(tasks, q.stuckTask(w))
		}
	}
	return tasks
}

// Stuck returns the tasks whose handlers have run for longer than Config.StuckAfter, to the second. They are still counted as active, and their workers are
// not replaced: a queue with as many of them as Config.Concurrency stands still. It doesn't block.
func (q *Queue[T, R]) Stuck() (tasks []StuckTask) {
	q.crew.mu.Lock()
	defer q.crew.mu.Unlock()
	defer q.lockOut()()
	for _, w := range q.crew.all {
		if w.isStuck() {
			tasks = append(tasks, q.stuckTask(w))
		}
	}
	return tasks
}

func (w *worker[T, R]) isStuck() bool { return w.busy && w.stuck && w.taken == w.watched }

func (q *Queue[T, R]) stuckTask(w *worker[T, R]) StuckTask {
	t := StuckTask{ID: w.id(), Attempt: int(w.entry.attempt) + 1}
	if w.queued != 0 {
		t.Queued = q.epoch.Add(w.queued)
	}
	if w.taken == w.watched {
		t.Running = q.now() - w.since
	}
	return t
}

func (q *Queue[T, R]) lockOut() (unlock func()) {
	for _, s := range q.shards {
		s.out.Lock()
	}
	return func() {
		for _, s := range q.shards {
			s.out.Unlock()
		}
	}
}

// gauge is a mean over about the last minute in which it was observed.
type gauge struct {
	mu    sync.Mutex
	value float64
	seen  int
}

const gaugeMemory = 60 // ticks

func (g *gauge) observe(v float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = min(g.seen+1, gaugeMemory)
	g.value += (v - g.value) / float64(g.seen)
}

func (g *gauge) read() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.value
}
