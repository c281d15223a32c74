package testserver

import (
	"errors"
	"os"
	"runtime"
	"testing"
)

// errNoSignals says that this system can't do to a process what the tests need.
var errNoSignals = errors.New("testserver: no Unix signals on " + runtime.GOOS + ": servers can't be paused or killed as the tests need")

// missingError is a program that is not installed.
type missingError struct{ program string }

func (e *missingError) Error() string {
	return "testserver: " + e.program + " is missing: run internal/tools/servers.sh, which installs it or says how"
}

// require ends the test if err is not nil: it is skipped when all that is wrong is the machine it runs on, and no server is required.
func require(tb testing.TB, err error) {
	tb.Helper()
	_, missing := errors.AsType[*missingError](err)
	switch {
	case err == nil:
	case (missing || errors.Is(err, errNoSignals)) && os.Getenv("UPBEAT_REQUIRE_SERVERS") != "1":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}
