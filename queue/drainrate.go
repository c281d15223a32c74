package queue

import "time"

const (
	minRetryAfter = 100 * time.Millisecond
	maxRetryAfter = time.Minute

	// unmeasuredRetryAfter is the answer while no task has ever made room for another.
	unmeasuredRetryAfter = time.Second

	// rateMemory is how much busy time a rate is made of: whenever there is more, the past counts half.
	rateMemory = 16 * time.Second
)

// drainRate measures how fast a shard drains while it has something to drain. It looks at the clock only when it is
// asked, and at every tick of the monitor, so that a job costs no look at it.
type drainRate struct {
	seen time.Duration // when it was looked at last, on the queue's clock
	left int           // jobs that have left the shard since then
	dry  bool          // the shard was empty in between
	idle bool          // no job has come or gone in between

	busy      time.Duration // time that counts
	leftTotal float64       // jobs that have left in it
}

// taken counts a job that left. One that went to a worker who was looking for work left for another reason than speed.
func (d *drainRate) taken(searching, last bool) {
	if !searching {
		d.left++
	}
	d.dry = d.dry || last
	d.idle = false
}

// observe counts what has happened since it was called last, unless the shard has run empty meanwhile: idle time says
// nothing about speed.
func (d *drainRate) observe(now time.Duration, empty bool) {
	if !d.dry {
		d.busy += now - d.seen
		d.leftTotal += float64(d.left)
	}
	d.seen, d.left, d.dry, d.idle = now, 0, empty, empty
	if d.busy > rateMemory && d.leftTotal > 0 {
		d.busy /= 2
		d.leftTotal /= 2
	}
}

// retryAfter is the formula that FullError.RetryAfter documents, for a shard that isn't empty.
func (d *drainRate) retryAfter(now time.Duration, depth int) time.Duration {
	d.observe(now, false)
	if d.leftTotal == 0 {
		return min(maxRetryAfter, max(unmeasuredRetryAfter, d.busy))
	}
	wanted := float64(depth) / 2 * d.busy.Seconds() / d.leftTotal
	return time.Duration(min(maxRetryAfter.Seconds(), max(minRetryAfter.Seconds(), wanted)) * float64(time.Second))
}
