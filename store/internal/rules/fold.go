package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// UptimeOf works out the uptime in a window from the changes of one service's instances, ordered by instance and time: of each
// instance the last one at or before from, and all from there to to.
func UptimeOf(q store.UptimeQuery, changes []store.UptimeChange) store.ServiceUptime {
	u := store.ServiceUptime{Service: q.Service, From: q.From, To: q.To}
	var edges []edge
	for len(changes) > 0 {
		n := slices.IndexFunc(changes, func(c store.UptimeChange) bool { return c.Instance != changes[0].Instance })
		if n < 0 {
			n = len(changes)
		}
		if i := instanceUptime(q, changes[:n]); i.Up+i.Down+i.Unknown > 0 {
			u.Instances = append(u.Instances, i)
			edges = appendEdges(edges, i.Episodes)
		}
		changes = changes[n:]
	}
	u.Uptime = together(edges)
	return u
}

func instanceUptime(q store.UptimeQuery, changes []store.UptimeChange) store.InstanceUptime {
	u := store.InstanceUptime{Instance: changes[0].Instance}
	for i, c := range changes {
		end := q.To
		if i+1 < len(changes) {
			end = changes[i+1].At
		}
		start := c.At
		if start.Before(q.From) {
			start = q.From
		}
		length := end.Sub(start)
		if length <= 0 {
			continue
		}
		*stateOf(&u, c.State) += length
		if n := len(u.Episodes); n > 0 && u.Episodes[n-1].State == c.State {
			u.Episodes[n-1].To = end
			continue
		}
		u.Episodes = append(u.Episodes, store.UptimeEpisode{Service: q.Service, Instance: c.Instance, State: c.State, From: start, To: end, Reason: c.Reason})
	}
	return u
}

func stateOf(u *store.InstanceUptime, state store.UptimeState) *time.Duration {
	switch state {
	case store.StateUp:
		return &u.Up
	case store.StateDown:
		return &u.Down
	case store.StateStopped:
		return &u.Stopped
	default:
		return &u.Unknown
	}
}

// edge is a time at which one more instance, or one less, is in a state.
type edge struct {
	at    time.Time
	state store.UptimeState
	more  int
}

func appendEdges(edges []edge, episodes []store.UptimeEpisode) []edge {
	for _, e := range episodes {
		edges = append(edges, edge{e.From, e.State, 1}, edge{e.To, e.State, -1})
	}
	return edges
}

// together is the uptime of a service whose instances have these edges.
func together(edges []edge) (u store.Uptime) {
	slices.SortFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	in := map[store.UptimeState]int{}
	for i, e := range edges {
		if i > 0 {
			length := e.at.Sub(edges[i-1].at)
			switch {
			case in[store.StateUp] > 0:
				u.Up += length
			case in[store.StateDown] > 0:
				u.Down += length
			case in[store.StateUnknown] > 0:
				u.Unknown += length
			}
		}
		in[e.state] += e.more
	}
	return u
}

// Health sums instances up by service, ordered by name.
type Health struct {
	services map[string]*health
}

type health struct {
	store.ServiceHealth
	newest string // instance
}

// Add takes an instance in.
func (h *Health) Add(service, instance, status string, lastSeen time.Time) {
	if h.services == nil {
		h.services = make(map[string]*health)
	}
	s := h.services[service]
	if s == nil {
		s = &health{ServiceHealth: store.ServiceHealth{Service: service, Instances: map[string]int{}}}
		h.services[service] = s
	}
	s.Instances[status]++
	if cmp.Or(lastSeen.Compare(s.LastSeen), strings.Compare(instance, s.newest)) >= 0 {
		s.Status, s.LastSeen, s.newest = status, lastSeen, instance
	}
}

// Services are those that were taken in.
func (h *Health) Services() []store.ServiceHealth {
	all := make([]store.ServiceHealth, 0, len(h.services))
	for _, name := range slices.Sorted(maps.Keys(h.services)) {
		all = append(all, h.services[name].ServiceHealth)
	}
	return all
}

// Series sums rollups up by step.
type Series struct {
	Query store.MetricQuery

	steps map[int64]*store.Rollup
}

// Add takes a rollup in.
func (s *Series) Add(r *store.Rollup) {
	if s.steps == nil {
		s.steps = make(map[int64]*store.Rollup)
	}
	start := s.Query.From
	if s.Query.Step > 0 {
		start = time.Unix(0, 0).UTC().Add(r.Minute.Sub(time.Unix(0, 0)).Truncate(s.Query.Step))
	}
	sum := s.steps[start.Unix()]
	if sum == nil {
		sum = &store.Rollup{Service: s.Query.Service, Metric: s.Query.Metric, Minute: start}
		s.steps[start.Unix()] = sum
	}
	sum.Add(*r)
}

// Rollups are the sums in the order of time.
func (s *Series) Rollups() []store.Rollup {
	all := make([]store.Rollup, 0, len(s.steps))
	for _, start := range slices.Sorted(maps.Keys(s.steps)) {
		all = append(all, *s.steps[start])
	}
	return all
}

// Measured is the throughput of a dashboard whose window, which ends at to, has so many messages.
func Measured(q store.DashboardQuery, to time.Time, messages int64) store.Throughput {
	return store.Throughput{From: to.Add(-q.Window).UTC(), To: to.UTC(), Messages: messages, Rate: float64(messages) / q.Window.Seconds()}
}
