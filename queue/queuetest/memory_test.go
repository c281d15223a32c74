package queuetest_test

import (
	"testing"

	"github.com/upbeat-go/upbeat/queue/queuetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	queuetest.TestTracker(t, new(queuetest.Memory))
}
