//go:build unix

package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// TestMain_StoppedPastItsLease stops a process as SIGSTOP does, until another has taken over its work, and lets it go on.
func TestMain_StoppedPastItsLease(t *testing.T) {
	t.Parallel()
	for name, database := range databases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-scale", "1", "-concurrency", "20", "-lease", "1s"}
			first, second := startService(t, database, args...), startService(t, database, args...)
			const n = 40
			for i := range n {
				require.True(t, first.post(fmt.Sprintf("r%d", i)))
			}
			require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP))
			var left float64 // what the first had not finished: all, unless the machine is busy
			require.Eventually(t, func() bool {
				stats := second.get(t, "/queue-status")
				left = stats["tracked"].(map[string]any)["recovered"].(float64)
				return left > 0 && left+second.get(t, "/database/stats")["completed"].(float64)-stats["done"].(float64) == n
			}, time.Minute, 50*time.Millisecond)
			require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
			require.Eventually(t, func() bool { return second.get(t, "/database/stats")["completed"].(float64) == n }, time.Minute, 50*time.Millisecond)
			stats := second.get(t, "/queue-status")
			require.Equal(t, left, stats["done"], "each was finished by the second, though the first went on with some")
			require.Eventually(t, func() bool {
				s := first.get(t, "/queue-status")
				return s["active"].(float64)+s["waiting"].(float64) == 0
			}, time.Minute, 50*time.Millisecond)
			s := first.get(t, "/queue-status")
			require.EqualValues(t, n, s["superseded"].(float64)+s["done"].(float64), "some were near their end when they woke: %v", s)
			require.NotZero(t, s["superseded"], s)
			for i := range n {
				require.Equal(t, queue.StatusCompleted, second.get(t, fmt.Sprintf("/status/r%d", i))["status"])
			}
		})
	}
}
