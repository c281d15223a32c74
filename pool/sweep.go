package pool

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sweepTimeout bounds one check.
	sweepTimeout = checkTimeout + time.Second/2
	// topologyTimeout bounds the question who the masters of a Cluster are; without an answer those of before are asked.
	topologyTimeout = time.Second
)

// sweep asks all nodes at the same time.
func (m *monitor) sweep(ctx context.Context) *report {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	r := &report{at: time.Now()}
	if cluster, ok := m.c.blocking.control.(*redis.ClusterClient); ok {
		r.failure = m.choose(mastersOf(ctx, cluster))
	} else {
		m.chooseSingle(m.c.standard.(*redis.Client))
	}
	r.nodes = m.askAll(ctx)
	if !m.c.cfg.Cluster {
		r.nodes[0] = m.follow(ctx, r.nodes[0])
	}
	r.demoted = m.demoted
	return r
}

// mastersOf uses the client that only wakes blocked commands: callers can't hold its connections.
func mastersOf(ctx context.Context, cluster *redis.ClusterClient) (masters map[string]*redis.Client, err error) {
	ctx, cancel := context.WithTimeout(ctx, topologyTimeout)
	defer cancel()
	var mu sync.Mutex
	masters = make(map[string]*redis.Client)
	err = cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[node.Options().Addr] = node
		return nil
	})
	return masters, err
}

// choose brings the probes in line with the masters.
func (m *monitor) choose(masters map[string]*redis.Client, err error) (failure string) {
	if err != nil {
		return "no master of the Cluster is known: " + err.Error()
	}
	for addr, p := range m.probes {
		if masters[addr] == nil {
			p.close()
			delete(m.probes, addr)
		}
	}
	for addr, node := range masters {
		if m.probes[addr] == nil {
			m.probes[addr] = &probe{addr: addr}
		}
		m.probes[addr].origin = node // it may have been made anew
	}
	return ""
}

func (m *monitor) chooseSingle(server *redis.Client) {
	if m.probes[""] == nil {
		m.probes[""] = &probe{origin: server, addr: m.c.cfg.where(), follows: m.c.cfg.MasterName != ""}
	}
}

func (m *monitor) askAll(ctx context.Context) []NodeHealth {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		nodes []NodeHealth
	)
	for _, p := range m.probes {
		wg.Go(func() {
			n := p.ask(ctx, m.c.cfg)
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, n)
		})
	}
	wg.Wait()
	slices.SortFunc(nodes, func(a, b NodeHealth) int { return strings.Compare(a.Addr, b.Addr) })
	return nodes
}

// follow sees to a change of role. A server that isn't a master any more may not be the one where the name leads to, so
// it is looked up again: at Sentinels that tells go-redis about a failover, too.
func (m *monitor) follow(ctx context.Context, n NodeHealth) NodeHealth {
	if n.Role == replica && (m.role == master || m.demoted || m.c.cfg.MasterName != "") {
		m.probes[""].close()
		n = m.probes[""].ask(ctx, m.c.cfg)
	}
	if n.Role == "" {
		return n // down, or it doesn't say
	}
	if m.role != "" && (n.Role != m.role || n.Addr != m.home) {
		m.c.cfg.Logger.WarnContext(ctx, "pool: another server or another role, connections are replaced before their next use",
			"addr", n.Addr, "role", n.Role, "addr_before", m.home, "role_before", m.role)
		m.c.sockets.renew()
		m.c.blocking.shelf.clear()
	}
	m.demoted = n.Role == replica && (m.role == master || m.demoted)
	m.role, m.home = n.Role, n.Addr
	return n
}
