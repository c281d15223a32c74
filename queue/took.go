package queue

import (
	"sync/atomic"
	"time"

	"github.com/upbeat-go/upbeat/internal/latency"
)

// took is how long something took, lately and on average. The zero value is empty. Safe for concurrent use. Times are on the queue's clock.
type took struct {
	recent latency.Recent
	total  atomic.Int64 // of all that was ever recorded
	count  atomic.Int64
}

// record counts d as of now. A few may be lost when a minute begins.
func (t *took) record(d, now time.Duration) {
	t.recent.Record(d, now)
	t.total.Add(int64(d))
	t.count.Add(1)
}

// percentiles are those of what was recorded in this minute and the one before.
func (t *took) percentiles(now time.Duration) Percentiles {
	p50, p95, p99 := t.recent.Percentiles(now)
	return Percentiles{P50: p50.Seconds(), P95: p95.Seconds(), P99: p99.Seconds()}
}

// mean is that of all that was ever recorded; 0 if there is nothing.
func (t *took) mean() time.Duration {
	return time.Duration(t.total.Load() / max(1, t.count.Load()))
}
