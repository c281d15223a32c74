package store_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func TestBucketOf_HoldsItsValues(t *testing.T) {
	t.Parallel()
	values := []float64{0, 1, 2, 3, 0.5, 1e-9, 15.999999, 16, 99.9, 1e9, math.Nextafter(2, 1), math.Nextafter(1, 0), 1 << 59}
	for range 1000 {
		values = append(values, math.Exp(rand.Float64()*40-15))
	}
	for _, v := range values {
		low, high := store.BucketBounds(store.BucketOf(v))
		require.LessOrEqual(t, low, v)
		require.True(t, v < high || v == 0, "%g: %g to %g", v, low, high)
		require.LessOrEqual(t, (high-low)/16, low/256+1e-300, "no wider than a sixteenth of its values")
		require.Equal(t, -store.BucketOf(v), store.BucketOf(-v))
	}
	slices.Sort(values)
	require.True(t, slices.IsSortedFunc(values, func(a, b float64) int { return int(store.BucketOf(a)) - int(store.BucketOf(b)) }))
	for _, extreme := range []float64{math.MaxFloat64, math.Inf(1), 1 << 62} {
		require.Equal(t, store.BucketOf(math.Nextafter(1<<60, 0)), store.BucketOf(extreme))
	}
	require.Zero(t, store.BucketOf(1e-300))
}

func TestRollup_QuantilesAndMerging(t *testing.T) {
	t.Parallel()
	var all, a, b store.Rollup
	for i := range 10_001 {
		v := float64(i) - 2000
		all.Observe(v)
		[]*store.Rollup{&a, &b}[i%2].Observe(v)
	}
	require.Equal(t, -2000.0, all.Quantile(0))
	require.Equal(t, 8000.0, all.Quantile(1))
	require.InEpsilon(t, 3000, all.Quantile(0.5), 0.04)
	require.InEpsilon(t, 7900, all.Quantile(0.99), 0.04)
	require.InEpsilon(t, -1000, all.Quantile(0.1), 0.04)
	require.InDelta(t, 3000, all.Mean(), 1e-9)

	before := slices.Clone(a.Buckets)
	sum := a
	sum.Add(b)
	sum.Add(store.Rollup{})
	require.Equal(t, all, sum)
	require.Equal(t, before, a.Buckets, "what was added to shares nothing with what it came from")
	require.Zero(t, store.Rollup{}.Mean())
	require.Zero(t, store.Rollup{}.Quantile(0.5))

	sum.Observe(math.MaxFloat64)
	sum.Observe(math.MaxFloat64)
	require.False(t, math.IsInf(sum.Sum, 0))
}
