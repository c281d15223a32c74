package rules

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// Roller makes the rollups of messages. It is here and not SQL, so that all stores come to the same, and so that no payload
// that is valid JSON makes them fail, whatever the database holds against \u0000 or 1e999.
type Roller struct {
	minutes map[rollupKey]*rolled
}

type rollupKey struct {
	minute  int64
	service string
}

// rolled is a service's minute.
type rolled struct {
	service  string
	messages int64
	metrics  []*store.Rollup // ordered by name, at most MaxMetrics: the first by name, so that their order of arrival doesn't matter
}

// countMetric counts up for ever and has nothing to sum up.
const countMetric = "heartbeat_count"

// Add takes a message in. Sums of floats depend on the order: give messages in the order of their keys.
// Neither slice is kept.
func (r *Roller) Add(at time.Time, service, payload []byte) {
	m := r.minutes[rollupKey{at.Unix() / 60, string(service)}] // nothing is allocated for this
	if m == nil {
		if r.minutes == nil {
			r.minutes = make(map[rollupKey]*rolled)
		}
		m = &rolled{service: string(service)}
		r.minutes[rollupKey{at.Unix() / 60, string(service)}] = m
	}
	m.messages++
	numbers(payload, func(name, value []byte) {
		if rollup := m.metric(name); rollup != nil {
			v, err := strconv.ParseFloat(string(value), 64)
			if err == nil || math.IsInf(v, 0) { // Observe caps it
				rollup.Observe(v)
			}
		}
	})
}

// Rollups returns what there is, ordered by service, metric and minute.
func (r *Roller) Rollups() []store.Rollup {
	var all []store.Rollup
	for key, m := range r.minutes {
		minute := time.Unix(key.minute*60, 0).UTC()
		all = append(all, store.Rollup{Service: key.service, Minute: minute, Count: m.messages})
		for _, rollup := range m.metrics {
			rollup.Minute = minute
			all = append(all, *rollup)
		}
	}
	slices.SortFunc(all, func(a, b store.Rollup) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Metric, b.Metric), a.Minute.Compare(b.Minute))
	})
	return all
}

// Crowded returns the last rollup of each service's minute that has as many metrics as are kept: there are none behind it.
func (r *Roller) Crowded() []store.Rollup {
	var all []store.Rollup
	for _, m := range r.minutes {
		if len(m.metrics) == store.MaxMetrics {
			all = append(all, *m.metrics[store.MaxMetrics-1])
		}
	}
	return all
}

// metric returns the rollup of a metric, or nil if it isn't among those that are kept.
func (m *rolled) metric(name []byte) *store.Rollup {
	i, found := slices.BinarySearchFunc(m.metrics, name, func(r *store.Rollup, name []byte) int { return strings.Compare(r.Metric, string(name)) })
	if found {
		return m.metrics[i]
	}
	if i == store.MaxMetrics || string(name) == countMetric || string(name) == store.MetricMessages || badName(string(name)) != "" {
		return nil
	}
	m.metrics = slices.Insert(m.metrics, i, &store.Rollup{Service: m.service, Metric: string(name)})
	if len(m.metrics) > store.MaxMetrics {
		m.metrics = m.metrics[:store.MaxMetrics]
	}
	return m.metrics[i]
}

// numbers calls yield with each number at the top of an object that is valid JSON. Anything else has none.
func numbers(p []byte, yield func(name, value []byte)) {
	i := skipSpace(p, 0)
	if i == len(p) || p[i] != '{' {
		return
	}
	for {
		if i = skipSpace(p, i+1); p[i] != '"' { // behind { or , there is a name, or the end of an empty object
			return
		}
		start := i
		i = skipString(p, i)
		name := p[start:i]
		start = skipSpace(p, skipSpace(p, i)+1) // the colon
		i = skipValue(p, start)
		if c := p[start]; c == '-' || c >= '0' && c <= '9' {
			yield(unquoted(name), p[start:i])
		}
		if i = skipSpace(p, i); p[i] != ',' {
			return
		}
	}
}

// skipValue returns the place behind the value at i of valid JSON.
func skipValue(p []byte, i int) int {
	depth := 0
	for ; i < len(p); i++ {
		switch p[i] {
		case '"':
			i = skipString(p, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			continue
		}
		if depth == 0 && (p[i] == '"' || p[i] == '}' || p[i] == ']') {
			return i + 1
		}
	}
	return i
}

func unquoted(name []byte) []byte {
	if slices.Contains(name, '\\') {
		var s string
		_ = json.Unmarshal(name, &s) // it is valid
		return []byte(s)
	}
	return name[1 : len(name)-1]
}
