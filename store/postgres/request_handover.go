package postgres

import (
	"slices"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// handovers remembers calls of Unfinished whose replies were lost: what they handed over belongs to an owner who never heard of it, and
// whose lease keeps it from all others.
type handovers struct {
	mu   sync.Mutex               // guards lost
	lost map[rules.Key][]handover // by queue and owner
}

type handover struct {
	call   int64
	failed time.Time
}

// lateCommit is for how long the server may go on with a call that has failed here.
const lateCommit = time.Minute

// fail adds a call.
func (h *handovers) fail(queue, owner string, call int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		h.lost = make(map[rules.Key][]handover)
	}
	key := rules.Key{Queue: queue, ID: owner}
	h.lost[key] = append(h.lost[key], handover{call, time.Now()})
}

// calls are those to be asked for. When that was answered, done forgets the old ones.
func (h *handovers) calls(queue, owner string) (calls []int64, done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key, asked := rules.Key{Queue: queue, ID: owner}, time.Now()
	if len(h.lost[key]) == 0 {
		return nil, func() {}
	}
	for _, lost := range h.lost[key] {
		calls = append(calls, lost.call)
	}
	return calls, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lost[key] = slices.DeleteFunc(h.lost[key], func(lost handover) bool { return asked.Sub(lost.failed) > lateCommit })
		if len(h.lost[key]) == 0 {
			delete(h.lost, key)
		}
	}
}
