//go:build race

package testserver

// Race tells whether the race detector is on. What is repeated for the sake of something else than goroutines, as for another protocol of the same
// server, needn't be repeated with it: make test runs everything without it as well.
const Race = true
