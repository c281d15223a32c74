// Package exetest builds the program of the package under test, so that tests can run it as its users do.
package exetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	dir   string // for as long as Main runs
	build = sync.OnceValues(func() (string, error) {
		exe := filepath.Join(dir, "program.exe") // Windows wants the suffix, and nobody else minds
		out, err := exec.CommandContext(context.Background(), "go", "build", "-o", exe, ".").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
		return exe, nil
	})
)

// Main is what TestMain calls. It runs the tests and removes what Path built.
func Main(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	made, err := os.MkdirTemp("", "exetest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer func() { _ = os.RemoveAll(made) }()
	dir = made
	code = m.Run()
}

// Path returns where the program is. The first call builds it.
func Path(tb testing.TB) string {
	tb.Helper()
	exe, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return exe
}
