package latency

import "time"

// Histogram exposes histogram.
type Histogram struct{ histogram }

// Record is histogram.record.
func (h *Histogram) Record(d time.Duration) { h.record(d) }

// Quantile is that of what was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	var d distribution
	h.addTo(&d)
	return d.quantile(q)
}

// Quantile is that of the last minute or two.
func (r *Recent) Quantile(q float64, now time.Duration) time.Duration {
	return r.distribution(now).quantile(q)
}

// BucketCount is bucketCount.
const BucketCount = bucketCount

// BucketOf is bucketOf.
func BucketOf(d time.Duration) int { return bucketOf(d) }

// MiddleOf is middleOf.
func MiddleOf(bucket int) time.Duration { return middleOf(bucket) }
