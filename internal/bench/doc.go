// Package bench measures this library beside its alternatives, in one run on
// one machine: a ratio between two rows of the same run means something where a
// figure alone does not.
//
//	make bench                 # everything, six times, through benchstat
//	make bench BENCH=Queue
//
// Sub-benchmarks of one benchmark do the same work; "upbeat" is this library.
package bench
