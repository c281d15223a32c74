package backoff

import "time"

// Exponential is the pause after the n-th failure in a row: first, then twice as long each time, and never more than limit.
// An n below 1 counts as 1. No n is too large.
func Exponential(n int, first, limit time.Duration) time.Duration {
	d := min(first, limit)
	for ; n > 1 && d < limit; n-- {
		if d <= 0 || d > limit/2 {
			return max(0, limit)
		}
		d *= 2
	}
	return max(0, d)
}

// Shorten takes up to share of d away, share and random being in [0, 1]: callers that failed together come back one by one. It
// never lengthens d, so that a limit stays a limit.
func Shorten(d time.Duration, share, random float64) time.Duration {
	cut := time.Duration(float64(d) * share * random)
	return min(d, max(0, d-cut))
}
