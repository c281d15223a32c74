package latency_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/latency"
)

// tolerance is what the histogram promises.
const tolerance = 1.0 / 32

func TestHistogram_QuantilesAreWithinTheTolerance(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	distributions := map[string]func() time.Duration{
		"constant": func() time.Duration { return 7777 * time.Microsecond },
		"uniform":  func() time.Duration { return 2*time.Microsecond + time.Duration(rng.Int64N(int64(time.Second))) },
		"exponential": func() time.Duration {
			return 2*time.Microsecond + time.Duration(rng.ExpFloat64()*float64(20*time.Millisecond))
		},
		"long tail": func() time.Duration {
			return 2*time.Microsecond + time.Duration(float64(time.Millisecond)*math.Exp(2*rng.NormFloat64()))
		},
		"two peaks": func() time.Duration {
			if rng.IntN(100) == 0 {
				return 30 * time.Second
			}
			return time.Millisecond
		},
	}
	for name, draw := range distributions {
		for _, size := range []int{1, 2, 10, 99, 10_000} {
			var h latency.Histogram
			var exact []time.Duration
			for range size {
				d := draw()
				exact = append(exact, d)
				h.Record(d)
			}
			slices.Sort(exact)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
				want := exact[max(0, int(math.Ceil(q*float64(size)))-1)]
				require.InEpsilon(t, want, h.Quantile(q), tolerance, "%s: %v of %d", name, q, size)
			}
		}
	}
}

func TestHistogram_EveryDurationHasItsBucket(t *testing.T) {
	t.Parallel()
	last := -1
	for bits := range 63 {
		for _, near := range []time.Duration{-1, 0, 1} {
			d := 1<<bits + near
			bucket := latency.BucketOf(d)
			require.GreaterOrEqual(t, bucket, last, "%d", d)
			last = bucket
			if d >= 1024 && d < 1<<42 {
				require.InEpsilon(t, d, latency.MiddleOf(bucket), tolerance)
			}
		}
	}
	require.Equal(t, latency.BucketCount-1, last)
	require.Zero(t, latency.BucketOf(math.MinInt64))
	for bucket := range latency.BucketCount {
		require.Equal(t, bucket, latency.BucketOf(latency.MiddleOf(bucket)))
	}
}

func TestHistogram_EmptyAndBesideOneAnother(t *testing.T) {
	t.Parallel()
	var h latency.Histogram
	require.Zero(t, h.Quantile(0.5))
	var recording sync.WaitGroup
	for range 4 {
		recording.Go(func() {
			for i := range 10_000 {
				h.Record(time.Duration(i+1) * time.Millisecond)
			}
		})
	}
	recording.Wait()
	require.InEpsilon(t, 5*time.Second, h.Quantile(0.5), tolerance)
}

func TestHistogram_RecordingAllocatesNothing(t *testing.T) { // not parallel, as others would be counted
	var h latency.Histogram
	require.Zero(t, testing.AllocsPerRun(1000, func() { h.Record(time.Second) }))
}

func TestRecent_ForgetsAfterAMinuteOrTwo(t *testing.T) {
	t.Parallel()
	var r latency.Recent
	var now time.Duration
	require.Zero(t, r.Quantile(0.5, now))
	r.Record(time.Second, now)
	now += 119 * time.Second
	require.InEpsilon(t, time.Second, r.Quantile(0, now), tolerance)
	r.Record(time.Hour, now)
	now += 2 * time.Second
	require.InEpsilon(t, time.Hour, r.Quantile(0, now), tolerance, "the first minute is over for long")
	now += 10 * time.Minute
	require.Zero(t, r.Quantile(1, now))
	r.Record(time.Minute, now)
	p50, p95, p99 := r.Percentiles(now)
	for _, p := range []time.Duration{r.Quantile(0, now), p50, p95, p99, r.Quantile(1, now)} {
		require.InEpsilon(t, time.Minute, p, tolerance)
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h latency.Histogram
	b.ReportAllocs()
	for d := time.Microsecond; b.Loop(); d += time.Microsecond {
		h.Record(d)
	}
}
