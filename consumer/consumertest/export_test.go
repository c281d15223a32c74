package consumertest

import "testing"

// Check runs one check of the suite.
func Check(tb testing.TB, name string, h Harness) {
	tb.Helper()
	checks[name](newFixture(tb, h))
}

// Checks are the names of all.
func Checks() (names []string) {
	for name := range checks {
		names = append(names, name)
	}
	return names
}
