package pool

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Status is how well Redis can be used.
type Status string

// What Redis can be.
const (
	StatusOK       Status = "ok"
	StatusDegraded Status = "degraded" // in part: see [Health.Reasons]
	StatusDown     Status = "down"     // not at all
)

// Health is what the last check found, and the connections as they are now. It shows no secret.
type Health struct {
	Status  Status   `json:"status"`
	Reasons []string `json:"reasons,omitempty"` // why it isn't ok

	// Nodes are the server or the master that the Sentinels name, or the masters of a Cluster in the order of addresses.
	Nodes     []NodeHealth `json:"nodes"`
	CheckedAt time.Time    `json:"checked_at"`
	Stats     Stats        `json:"stats"`
}

// NodeHealth is one server as a connection of its own saw it. What the server doesn't know or its ACL forbids to ask stays empty.
type NodeHealth struct {
	Addr             string  `json:"addr"`
	Up               bool    `json:"up"` // it answers, and not with an excuse (LOADING, MASTERDOWN, a refused password)
	Error            string  `json:"error,omitempty"`
	RoundTripSeconds float64 `json:"round_trip_seconds"` // of a PING; 0 if not Up
	Role             string  `json:"role,omitempty"`     // master or replica
	ReplicationLink  string  `json:"replication_link,omitempty"`
	Replicas         int     `json:"replicas,omitempty"`          // of a master, connected to it
	UsedMemory       int64   `json:"used_memory_bytes,omitempty"` // by the server, in bytes
	MaxMemory        int64   `json:"max_memory_bytes,omitempty"`  // its limit in bytes; 0 is none
	Version          string  `json:"version,omitempty"`           // say, redis 7.0.15

	clusterState string // ok or fail
}

const (
	master, replica  = "master", "replica"
	linkUp, linkDown = "up", "down"
)

// healthLimit bounds Health, on a dead network too: a check, which may take longer than it should.
const healthLimit = checkTimeout + time.Second

// Health returns what Run found last. While Run doesn't run it asks the server, at most once a second for all callers
// together, which takes 3 seconds at most.
//
// Down means that nothing can be done: no answer within 2 seconds, LOADING, a refused password, an open circuit breaker, or in a Cluster that all of
// its masters are gone, refuse commands or have an open breaker. Degraded means that something can: some masters of a Cluster answer, a server that was a
// master or should be is a replica, a replica lost its master, or commands wait as all connections of Standard to a server, or all of Blocking, are in use.
//
// When ctx ends first, the answer is the last that there was, or down.
func (c *Clients) Health(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	h := c.healthOf(c.monitor.recent(ctx))
	for _, lack := range h.Stats.lacks() {
		h.worsen(StatusDegraded, lack)
	}
	h.heed(c.cfg.Cluster)
	return h
}

// heed adds the circuit breakers that refuse commands now. One whose time is over would let the next call through: were that called down, a
// service that is taken out of its balancer for it would have no calls, and never come back.
func (h *Health) heed(cluster bool) {
	refusing := make(map[string]bool)
	for _, b := range h.Stats.Breaker {
		if b.State != stateClosed && time.Now().Before(b.RetryAt) {
			refusing[b.Node] = true
			h.worsen(StatusDegraded, fmt.Sprintf("%s: the circuit breaker is open until %s: %s", b.Node, b.RetryAt.Format(time.RFC3339Nano), b.Reason))
		}
	}
	serves := func(n NodeHealth) bool { return n.usable() && !refusing[n.Addr] }
	if len(refusing) > 0 && (!cluster || !slices.ContainsFunc(h.Nodes, serves)) {
		h.Status = StatusDown
	}
}

// healthOf is the report, and the connections as they are now.
func (c *Clients) healthOf(r *report) Health {
	h := Health{Nodes: r.nodes, CheckedAt: r.at, Stats: c.Stats()}
	h.Status, h.Reasons = r.verdict(c.cfg)
	return h
}

func (h *Health) worsen(to Status, reason string) {
	if h.Status != StatusDown {
		h.Status = to
	}
	h.Reasons = append(h.Reasons, reason)
}

// report is what one check found.
type report struct {
	at    time.Time
	nodes []NodeHealth
	// demoted says that the server was a master, in the life of the monitor.
	demoted bool
	failure string // why no node could be asked
}

func (r *report) verdict(cfg Config) (Status, []string) {
	var h Health
	h.Status = StatusOK
	if r.failure != "" {
		h.worsen(StatusDown, r.failure)
	}
	usable := 0
	for _, n := range r.nodes {
		if n.usable() {
			usable++
		}
		if reason := n.trouble(cfg, r.demoted); reason != "" {
			h.worsen(StatusDegraded, reason)
		}
	}
	if usable == 0 {
		h.Status = StatusDown
	}
	return h.Status, h.Reasons
}

func (n NodeHealth) usable() bool { return n.Up && n.clusterState != "fail" }

// trouble says in a sentence what is wrong with the node.
func (n NodeHealth) trouble(cfg Config, demoted bool) string {
	switch {
	case !n.Up:
		return n.Addr + ": " + n.Error
	case n.clusterState == "fail":
		return n.Addr + ": the Cluster refuses commands, as some of its slots have no master"
	case n.Role == replica && cfg.MasterName != "":
		return n.Addr + ": is a replica, and the Sentinels name no other master yet: writes fail"
	case n.Role == replica && demoted:
		return n.Addr + ": was a master and is a replica now: writes fail"
	case n.Role == replica && n.ReplicationLink == linkDown:
		return n.Addr + ": the replica has no link to its master: what it has may be old"
	default:
		return ""
	}
}
