// Package backoff computes how long to wait before the next try. Its functions are pure: they neither wait nor draw random
// numbers, so they are safe for concurrent use and tested as arithmetic.
//
//	pause := backoff.Shorten(backoff.Exponential(tries, time.Second, 30*time.Second), 0.2, rand.Float64())
package backoff
