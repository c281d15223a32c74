//go:build !unix

package queue

import "time"

// processorTime is not known here.
func processorTime() time.Duration { return 0 }
