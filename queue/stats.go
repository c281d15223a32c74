package queue

import "time"

// Stats is the state of a [Queue] at one moment. Each job that was ever accepted is in exactly one of Waiting,
// Active, Done, Failed and NotRun.
type Stats struct {
	Waiting int   `json:"waiting"` // jobs that wait
	Active  int   `json:"active"`  // handlers that run
	Done    int64 `json:"done"`    // tasks whose handler returned nil
	Failed  int64 `json:"failed"`  // tasks whose handler returned an error, panicked, or ended its goroutine
	NotRun  int64 `json:"not_run"` // jobs dropped by a drain that ran out of time

	Refused    int64 `json:"refused"`    // submissions answered with ErrFull
	Duplicates int64 `json:"duplicates"` // submissions of an ID that was unfinished

	Depths      []int   `json:"depths"`      // jobs that wait, by shard
	Capacity    int     `json:"capacity"`    // jobs that may wait, all shards together
	Utilisation float64 `json:"utilisation"` // Active as a share of Concurrency: 0 to 1

	// RetryAfterSeconds is what a job that is refused now is told at most. 0 while no shard is full.
	RetryAfterSeconds float64 `json:"retry_after_seconds"`
}

// Stats returns the state of the queue. It doesn't block, and holds up submitters for no longer than it takes to
// read a few numbers of each shard.
func (q *Queue[T, R]) Stats() Stats {
	now := q.now()
	stats := Stats{
		Refused:    q.refused.Load(),
		Duplicates: q.duplicates.Load(),
		Depths:     make([]int, len(q.shards)),
		Capacity:   len(q.shards) * q.cfg.ShardCapacity,
	}
	var sum tally
	var retryAfter time.Duration
	defer q.lockAll()()
	for i, s := range q.shards {
		depth := s.waiting.len
		stats.Depths[i] = depth
		stats.Waiting += depth
		sum.add(s.tally)
		if depth == s.capacity {
			retryAfter = max(retryAfter, s.drain.retryAfter(now, depth))
		}
	}
	stats.Active, stats.Done, stats.Failed, stats.NotRun = int(sum.active), sum.done, sum.failed, sum.notRun
	stats.Utilisation = float64(sum.active) / float64(q.cfg.Concurrency)
	stats.RetryAfterSeconds = retryAfter.Seconds()
	return stats
}
