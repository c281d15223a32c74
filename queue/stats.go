package queue

import "time"

// Stats is the state of a [Queue] at one moment. Each job that was ever accepted is in exactly one of Waiting,
// Active, Done, Failed, Cancelled, Expired, Superseded and NotRun.
type Stats struct {
	Waiting    int   `json:"waiting"`    // jobs that wait, those between two attempts included
	Active     int   `json:"active"`     // handlers that run, stuck ones included
	Done       int64 `json:"done"`       // tasks whose handler returned nil
	Failed     int64 `json:"failed"`     // tasks whose handler returned an error, panicked, or ended its goroutine, for the last time
	Cancelled  int64 `json:"cancelled"`  // tasks that were stopped by Cancel
	Expired    int64 `json:"expired"`    // tasks that were stopped by their deadline
	Superseded int64 `json:"superseded"` // tasks that another process has taken over
	NotRun     int64 `json:"not_run"`    // jobs dropped by a drain that ran out of time

	Refused    int64 `json:"refused"`    // submissions answered with ErrFull
	Duplicates int64 `json:"duplicates"` // submissions of an ID that was unfinished
	Retried    int64 `json:"retried"`    // attempts that failed and were followed by another
	Stuck      int   `json:"stuck"`      // handlers that have run for longer than Config.StuckAfter

	Depths      []int   `json:"depths"`      // jobs that wait, by shard
	Capacity    int     `json:"capacity"`    // jobs that may wait, all shards together
	Concurrency int     `json:"concurrency"` // handlers that may run at once
	Paused      bool    `json:"paused"`
	Utilisation float64 `json:"utilisation"` // Active as a share of Concurrency

	// Efficiency is the mean utilisation while jobs waited, over about a minute of such time: near 1, unless handlers are so quick that a few workers do all,
	// or more of them than the processors can serve. 0 while nothing has waited.
	Efficiency float64 `json:"efficiency"`

	// RetryAfterSeconds is what a job that is refused now is told at most. 0 while no shard is full.
	RetryAfterSeconds float64 `json:"retry_after_seconds"`

	// Wait is how long jobs have waited and Run how long handlers have run, over the last minute or two and within 4 %. They are measured for the
	// first thousand jobs of a second in each shard, and one of 64 thereafter.
	Wait Percentiles `json:"wait"`
	Run  Percentiles `json:"run"`

	// Tracked is how the tracker is doing; nil without one.
	Tracked *Tracked `json:"tracked,omitempty"`
}

// Percentiles are durations that 50, 95 and 99 of a hundred don't exceed, in seconds; 0 while there is nothing to count.
type Percentiles struct {
	P50 float64 `json:"p50_seconds"`
	P95 float64 `json:"p95_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// Stats returns the state of the queue. It doesn't block, and holds up submitters for no longer than it takes to
// read a few numbers of each shard.
func (q *Queue[T, R]) Stats() Stats {
	now := q.now()
	stats := Stats{
		Duplicates: q.duplicates.Load(),
		Depths:     make([]int, len(q.shards)),
		Capacity:   len(q.shards) * q.cfg.ShardCapacity,
		Efficiency: q.gauge.read(),
		Wait:       q.waits.percentiles(now),
		Run:        q.runs.percentiles(now),
		Stuck:      len(q.Stuck()),
	}
	stats.Concurrency, stats.Paused = q.crew.state()
	q.count(&stats, now)
	if q.ledger != nil {
		stats.Tracked = q.ledger.stats()
	}
	return stats
}

// count fills in what has to be of one moment.
func (q *Queue[T, R]) count(stats *Stats, now time.Duration) {
	var sum tally
	var retryAfter time.Duration
	defer q.lockAll()()
	for i, s := range q.shards {
		depth := s.depthLocked()
		stats.Depths[i] = depth
		stats.Waiting += depth
		sum.add(&s.out.tally)
		stats.Refused += s.refused
		if depth >= s.capacity {
			retryAfter = max(retryAfter, s.out.drain.retryAfter(now, depth))
		}
	}
	stats.Active, stats.Done, stats.Failed, stats.NotRun = int(sum.active), sum.done, sum.failed, sum.notRun
	stats.Cancelled, stats.Expired, stats.Superseded, stats.Retried = sum.cancelled, sum.expired, sum.superseded, sum.retried
	stats.Utilisation = float64(sum.active) / float64(stats.Concurrency)
	stats.RetryAfterSeconds = retryAfter.Seconds()
}
