package pool

import (
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Stats are the connections of Standard, as of one moment, and what commands met when they wanted one; in a Cluster the sum over its nodes.
// Those of Blocking and Subscribe have figures of their own.
type Stats struct {
	ConnectionStats

	PubSub   PubSubStats   `json:"pub_sub"`
	Blocking BlockingStats `json:"blocking"`

	Breaker []BreakerStats `json:"breaker"` // of each node that Standard talks to; empty if it is off

	// Nodes are those of a Cluster that have connections, in the order of addresses.
	Nodes []NodeStats `json:"nodes,omitempty"`
}

// ConnectionStats are the connections to one server, or to all of them. The counters begin with Open, and again at zero after 2³².
type ConnectionStats struct {
	MaxConnections       int `json:"max_connections"`       // the limit
	CreatedConnections   int `json:"created_connections"`   // open now
	AvailableConnections int `json:"available_connections"` // open and idle
	InUseConnections     int `json:"in_use_connections"`    // open and at work

	// Waiting is how many commands want a connection at this moment, and have none: all are in use, or one is being dialled.
	Waiting int `json:"waiting"`

	Hits        uint32  `json:"hits"`         // a connection was there
	Misses      uint32  `json:"misses"`       // one had to be dialled
	Waits       uint32  `json:"waits"`        // all were in use, and one came free
	WaitSeconds float64 `json:"wait_seconds"` // spent in those waits
	Timeouts    uint32  `json:"timeouts"`     // none came free in time
	Stale       uint32  `json:"stale"`        // closed because they failed, had ended or were too old
}

// PubSubStats are the connections of subscriptions, of Subscribe as well as those that were made with Standard. They come on top of MaxConnections.
type PubSubStats struct {
	Active  uint32 `json:"active"`  // open now
	Created uint32 `json:"created"` // ever
}

// NodeStats are the connections of Standard to one node of a Cluster; those of Subscribe are in the sum only.
type NodeStats struct {
	Addr string `json:"addr"`
	ConnectionStats
	PubSub PubSubStats `json:"pub_sub"`
}

// BlockingStats are the connections of Blocking.
type BlockingStats struct {
	MaxConnections       int `json:"max_connections"`
	CreatedConnections   int `json:"created_connections"`
	AvailableConnections int `json:"available_connections"`
	InUseConnections     int `json:"in_use_connections"`
	Waiting              int `json:"waiting"` // calls that wait for their turn
}

// Stats returns a snapshot. It doesn't block, and doesn't ask the server. In a Cluster the figures of its nodes are taken one after
// another; a node that leaves keeps its share in the counters.
func (c *Clients) Stats() Stats {
	s := c.standardStats()
	s.PubSub.add(c.subscriptions.stats())
	return s
}

func (c *Clients) standardStats() Stats {
	s := Stats{Blocking: c.blocking.stats(), Breaker: c.breakers.stats()}
	if single, ok := c.standard.(*redis.Client); ok {
		all := nodeStats(single)
		all.bury(c.sockets.deadAt(""))
		s.ConnectionStats, s.PubSub = all.ConnectionStats, all.PubSub
		s.MaxConnections = c.cfg.Profile.MaxConnections
		return s
	}
	nodes, sum := c.nodes.each()
	for i := range nodes {
		nodes[i].MaxConnections = c.perMaster()
		nodes[i].bury(c.sockets.deadAt(nodes[i].Addr))
		sum.add(nodes[i])
	}
	s.ConnectionStats, s.PubSub = sum.ConnectionStats, sum.PubSub
	s.MaxConnections = c.perMaster() * c.masters
	s.Nodes = slices.DeleteFunc(nodes, func(n NodeStats) bool { return n.CreatedConnections == 0 && n.Waiting == 0 && n.PubSub.Active == 0 })
	return s
}

func nodeStats(node *redis.Client) NodeStats {
	p := node.PoolStats()
	created, idle := int(p.TotalConns), int(p.IdleConns)
	idle = min(idle, created) // they are read one after the other
	return NodeStats{
		Addr: node.Options().Addr,
		ConnectionStats: ConnectionStats{
			CreatedConnections:   created,
			AvailableConnections: idle,
			InUseConnections:     created - idle,
			Waiting:              int(p.PendingRequests),
			Hits:                 p.Hits,
			Misses:               p.Misses,
			Waits:                p.WaitCount,
			WaitSeconds:          float64(p.WaitDurationNs) / 1e9,
			Timeouts:             p.Timeouts,
			Stale:                p.StaleConns,
		},
		PubSub: PubSubStats{Active: p.PubSubStats.Active, Created: p.PubSubStats.Created},
	}
}

// bury leaves out connections that are closed already, though go-redis doesn't know yet.
func (n *NodeStats) bury(dead int) {
	dead = min(dead, n.AvailableConnections)
	n.CreatedConnections -= dead
	n.AvailableConnections -= dead
}

func (n *NodeStats) add(other NodeStats) {
	n.CreatedConnections += other.CreatedConnections
	n.AvailableConnections += other.AvailableConnections
	n.InUseConnections += other.InUseConnections
	n.Waiting += other.Waiting
	n.Hits += other.Hits
	n.Misses += other.Misses
	n.Waits += other.Waits
	n.WaitSeconds += other.WaitSeconds
	n.Timeouts += other.Timeouts
	n.Stale += other.Stale
	n.PubSub.add(other.PubSub)
}

func (p *PubSubStats) add(other PubSubStats) {
	p.Active += other.Active
	p.Created += other.Created
}

// lacks says where callers wait although all connections are open and at work; in a Cluster each node has its own.
func (s Stats) lacks() (sentences []string) {
	nodes := s.Nodes
	if len(nodes) == 0 {
		nodes = []NodeStats{{ConnectionStats: s.ConnectionStats}}
	}
	for _, n := range nodes {
		if n.Waiting > 0 && n.InUseConnections >= n.MaxConnections {
			where := ""
			if n.Addr != "" {
				where = " to " + n.Addr
			}
			sentences = append(sentences, fmt.Sprintf("all %d connections%s are in use, waiting: %d", n.MaxConnections, where, n.Waiting))
		}
	}
	if b := s.Blocking; b.Waiting > 0 {
		sentences = append(sentences, fmt.Sprintf("all %d blocking connections are in use, waiting: %d", b.MaxConnections, b.Waiting))
	}
	return sentences
}
