package pool

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
	"weak"
)

// breakers finds the breakers of all nodes. A node's lives as long as its client: go-redis drops the clients of nodes that left the Cluster.
type breakers struct {
	mu   sync.Mutex // guards all
	list map[string]weak.Pointer[breaker]
}

// newBreaker returns nil if the Config has breakers off.
func (c Config) newBreaker(node string, all *breakers, onTrip func()) *breaker {
	if c.Breaker.FailureRatio < 0 {
		return nil
	}
	b := &breaker{Breaker: c.Breaker, node: node, log: c.Logger, onTrip: onTrip, born: time.Now()}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.list == nil {
		all.list = make(map[string]weak.Pointer[breaker])
	}
	all.list[node] = weak.Make(b)
	return b
}

// stats are in order of the node's name, and never nil.
func (all *breakers) stats() []BreakerStats {
	all.mu.Lock()
	defer all.mu.Unlock()
	maps.DeleteFunc(all.list, func(_ string, p weak.Pointer[breaker]) bool { return p.Value() == nil })
	stats := make([]BreakerStats, 0, len(all.list))
	for _, p := range all.list {
		if b := p.Value(); b != nil {
			stats = append(stats, b.stats())
		}
	}
	slices.SortFunc(stats, func(a, b BreakerStats) int { return cmp.Compare(a.Node, b.Node) })
	return stats
}
