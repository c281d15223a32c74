// Package latency counts durations for percentiles of the last minute or two.
package latency

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// subBits make 16 buckets of each power of two: a bucket's middle is off by 1/32 (3.2 %) at most from all that is in it.
	subBits = 4
	// lowBits and highBits bound what is told apart: 1.024 µs, below which all is one bucket, to 73 minutes.
	lowBits, highBits = 10, 42

	bucketCount = 1 + (highBits-lowBits)<<subBits
)

// histogram counts durations. Recording one costs an atomic addition and no memory. The zero histogram is empty. Safe for concurrent use.
type histogram struct{ counts [bucketCount]atomic.Uint64 }

func (h *histogram) record(d time.Duration) { h.counts[bucketOf(d)].Add(1) }

// addTo adds up several histograms: what is recorded meanwhile may be left out.
func (h *histogram) addTo(d *distribution) {
	for i := range h.counts {
		d[i] += h.counts[i].Load()
	}
}

func (h *histogram) clear() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
}

// bucketOf is the place of d: beyond the bounds, the nearest.
func bucketOf(d time.Duration) int {
	v := uint64(min(max(d, 0), 1<<highBits-1))
	if v < 1<<lowBits {
		return 0
	}
	octave := bits.Len64(v) - 1
	sub := v >> (octave - subBits) & (1<<subBits - 1)
	return 1 + (octave-lowBits)<<subBits + int(sub)
}

// middleOf is the duration that stands for a bucket.
func middleOf(bucket int) time.Duration {
	if bucket == 0 {
		return 1 << (lowBits - 1)
	}
	octave, sub := (bucket-1)>>subBits+lowBits, (bucket-1)&(1<<subBits-1)
	width := time.Duration(1) << (octave - subBits)
	return width<<subBits + time.Duration(sub)*width + width/2
}

// distribution is what histograms have counted, by bucket.
type distribution [bucketCount]uint64

// quantile is the smallest duration, within 1/32, that a share q (0 to 1) of all doesn't exceed; 0 if there is none.
func (d *distribution) quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range d {
		total += n
	}
	rank := max(1, uint64(math.Ceil(q*float64(total))))
	for bucket, n := range d {
		if n >= rank {
			return middleOf(bucket)
		}
		rank -= n
	}
	return 0
}

// Recent is a histogram of the last minute or two: percentiles over the whole life of a service no longer move when something goes wrong. The
// zero value is empty. Safe for concurrent use. Times are those since some moment that stays the same and is monotonic.
type Recent struct {
	minute atomic.Int64
	halves [2]histogram // of even and odd minutes
}

// Record counts d as of now. It allocates nothing. A few may be lost when a minute begins.
func (r *Recent) Record(d, now time.Duration) { r.half(now).record(d) }

// half is where the minute of now is counted. Whoever comes first in a minute clears what is too old.
func (r *Recent) half(now time.Duration) *histogram {
	minute := int64(now / time.Minute)
	if old := r.minute.Load(); minute > old && r.minute.CompareAndSwap(old, minute) {
		r.halves[minute&1].clear()
		if minute > old+1 {
			r.halves[1-minute&1].clear()
		}
	}
	return &r.halves[minute&1]
}

// Percentiles are the durations, within 1/32, that 50, 95 and 99 of a hundred recorded in this minute and the one before don't exceed; 0 if
// there were none.
func (r *Recent) Percentiles(now time.Duration) (p50, p95, p99 time.Duration) {
	d := r.distribution(now)
	return d.quantile(0.5), d.quantile(0.95), d.quantile(0.99)
}

func (r *Recent) distribution(now time.Duration) *distribution {
	r.half(now)
	var d distribution
	for i := range r.halves {
		r.halves[i].addTo(&d)
	}
	return &d
}
