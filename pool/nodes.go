package pool

import (
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// nodes are the clients that go-redis makes for the nodes of a Cluster. Its own sum leaves out who waits and who subscribes, and
// forgets what a node has counted when the node leaves.
type nodes struct {
	mu   sync.Mutex // guards what follows
	list []*redis.Client
	gone NodeStats // the counters of nodes that have left and come back
}

// watch is to be called before the first command.
func (n *nodes) watch(cluster *redis.ClusterClient) { cluster.OnNewNode(n.add) }

// add is called under a lock of go-redis. A node that comes back has a new client; the closed one before it only has its counters left.
func (n *nodes) add(node *redis.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = slices.DeleteFunc(n.list, func(old *redis.Client) bool {
		if old.Options().Addr != node.Options().Addr {
			return false
		}
		left := nodeStats(old)
		left.CreatedConnections, left.AvailableConnections, left.InUseConnections, left.Waiting = 0, 0, 0, 0
		left.PubSub.Active = 0
		n.gone.add(left)
		return true
	})
	n.list = append(n.list, node)
}

// each returns the figures of every node, in the order of addresses, and those of the closed clients.
func (n *nodes) each() (all []NodeStats, gone NodeStats) {
	n.mu.Lock()
	list, gone := slices.Clone(n.list), n.gone
	n.mu.Unlock()
	for _, node := range list {
		all = append(all, nodeStats(node))
	}
	slices.SortFunc(all, func(a, b NodeStats) int { return strings.Compare(a.Addr, b.Addr) })
	return all, gone
}
