package store

import (
	"math"
	"slices"
	"time"
)

// MetricMessages is the metric under which the messages themselves are counted.
const MetricMessages = ""

// MaxMetrics is how many metrics of a service a minute has at most, beside [MetricMessages]: the first by name.
const MaxMetrics = 64

// Rollup sums up one metric of a service in one minute, or in several after Add. The metrics are the finite numbers at
// the top of the payloads, by their names.
type Rollup struct {
	Service string    `json:"service_name"`
	Metric  string    `json:"metric"`
	Minute  time.Time `json:"minute"` // its start

	Count   int64    `json:"count"`
	Min     float64  `json:"min"`
	Max     float64  `json:"max"`
	Sum     float64  `json:"sum"`
	Buckets []Bucket `json:"buckets,omitempty"` // a histogram, ordered by index; none of MetricMessages
}

// Bucket counts the samples within [BucketBounds] of its index.
type Bucket struct {
	Index int16 `json:"index"`
	Count int64 `json:"count"`
}

// Mean is the average, or 0 where there are no samples.
func (r Rollup) Mean() float64 {
	if r.Count == 0 {
		return 0
	}
	return r.Sum / float64(r.Count)
}

// Quantile is the value below which the share q, 0 to 1, of the samples lie, to within 4 %; or 0 where there is no histogram.
func (r Rollup) Quantile(q float64) float64 {
	total := int64(0)
	for _, b := range r.Buckets {
		total += b.Count
	}
	if total == 0 {
		return 0
	}
	rank := int64(math.Ceil(min(max(q, 0), 1) * float64(total)))
	for _, b := range r.Buckets {
		if rank -= b.Count; rank <= 0 {
			low, high := BucketBounds(b.Index)
			return min(max(low+(high-low)/2, r.Min), r.Max)
		}
	}
	return r.Max
}

// Add makes r sum up what both do. Service, Metric and Minute stay.
func (r *Rollup) Add(o Rollup) {
	if o.Count == 0 {
		return
	}
	if r.Count == 0 {
		r.Min, r.Max = o.Min, o.Max
	}
	r.Count += o.Count
	r.Min, r.Max, r.Sum = min(r.Min, o.Min), max(r.Max, o.Max), r.Sum+o.Sum
	r.Buckets = slices.Clone(r.Buckets)
	for _, b := range o.Buckets {
		r.count(b.Index, b.Count)
	}
}

// Observe adds one sample, which must not be NaN; one beyond 1e100 counts as 1e100, so that sums stay finite.
func (r *Rollup) Observe(v float64) {
	v = min(max(v, -maxSample), maxSample)
	if r.Count == 0 {
		r.Min, r.Max = v, v
	}
	r.Count++
	r.Min, r.Max, r.Sum = min(r.Min, v), max(r.Max, v), r.Sum+v
	r.count(BucketOf(v), 1)
}

func (r *Rollup) count(index int16, n int64) {
	i, found := slices.BinarySearchFunc(r.Buckets, index, func(b Bucket, index int16) int { return int(b.Index) - int(index) })
	if !found {
		r.Buckets = slices.Insert(r.Buckets, i, Bucket{Index: index})
	}
	r.Buckets[i].Count += n
}

// Buckets are 16 to each power of two from 2^minExponent to 2^maxExponent, so none is wider than 1/16 of its values, and as
// many for negative values, under negative indexes. What is closer to 0 is in bucket 0; what is beyond is in the last.
const (
	subBuckets  = 16
	minExponent = -30
	maxExponent = 60
	maxSample   = 1e100
	lastBucket  = (maxExponent - minExponent) * subBuckets
)

// BucketOf is the index of the bucket that holds v.
func BucketOf(v float64) int16 {
	if v < 0 {
		return -BucketOf(-v)
	}
	fraction, exponent := math.Frexp(v) // v = fraction * 2^exponent, fraction from 0.5 to 1
	exponent--                          // v = 2 * fraction * 2^exponent
	switch {
	case exponent >= maxExponent || math.IsInf(v, 0):
		return lastBucket
	case exponent < minExponent || v == 0:
		return 0
	}
	return int16(1 + (exponent-minExponent)*subBuckets + int((2*fraction-1)*subBuckets)) //nolint:gosec // at most lastBucket
}

// BucketBounds gives the range of a bucket: from low up to high for positive indexes, mirrored for negative ones. Bucket 0 holds
// what is too small for the others; the last ones hold all that is greater, too.
func BucketBounds(index int16) (low, high float64) {
	if index < 0 {
		low, high = BucketBounds(-index)
		return -high, -low
	}
	if index == 0 {
		return 0, 0
	}
	i := int(index) - 1
	step := math.Ldexp(1, minExponent+i/subBuckets)
	low = step * (1 + float64(i%subBuckets)/subBuckets)
	return low, low + step/subBuckets
}
