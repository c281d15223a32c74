package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

const forever = time.Duration(math.MaxInt64)

func TestExponential_Doubles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		n            int
		first, limit time.Duration
		want         time.Duration
	}{
		"first":                    {1, time.Second, 30 * time.Second, time.Second},
		"second":                   {2, time.Second, 30 * time.Second, 2 * time.Second},
		"fifth":                    {5, time.Second, 30 * time.Second, 16 * time.Second},
		"sixth is cut":             {6, time.Second, 30 * time.Second, 30 * time.Second},
		"limit met exactly":        {3, time.Second, 4 * time.Second, 4 * time.Second},
		"before the first":         {0, time.Second, 30 * time.Second, time.Second},
		"negative":                 {-7, time.Second, 30 * time.Second, time.Second},
		"first beyond the limit":   {1, time.Minute, time.Second, time.Second},
		"very many":                {math.MaxInt, time.Nanosecond, forever, forever},
		"limit that is no power":   {3, 3, 11, 11},
		"nothing":                  {1, 0, time.Second, 0},
		"nothing to double":        {9, 0, time.Second, time.Second},
		"negative first":           {1, -time.Second, time.Second, 0},
		"negative limit":           {4, time.Second, -time.Second, 0},
		"no overflow at the limit": {63, time.Second, forever, forever},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, backoff.Exponential(tt.n, tt.first, tt.limit))
		})
	}
}

func TestShorten_OnlyShortens(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		d             time.Duration
		share, random float64
		want          time.Duration
	}{
		"by nothing":      {time.Second, 0.2, 0, time.Second},
		"by half of it":   {time.Second, 0.2, 0.5, 900 * time.Millisecond},
		"by all of it":    {time.Second, 0.2, 1, 800 * time.Millisecond},
		"away":            {time.Second, 1, 1, 0},
		"never below 0":   {time.Second, 2, 1, 0},
		"never longer":    {time.Second, -1, 1, time.Second},
		"nothing":         {0, 0.5, 0.5, 0},
		"the longest one": {forever, 1, 1, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, backoff.Shorten(tt.d, tt.share, tt.random))
		})
	}
}

func FuzzExponential_StaysWithinTheLimit(f *testing.F) {
	f.Add(3, int64(time.Second), int64(time.Minute))
	f.Add(math.MaxInt, int64(1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, n int, first, limit int64) {
		d := backoff.Exponential(n, time.Duration(first), time.Duration(limit))
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, max(0, time.Duration(limit)))
	})
}
