package heartbeat

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Instance is what a [Monitor] knows of one instance of a service at the moment of asking.
type Instance struct {
	Service, ID string
	State       State
	Why         string        // the reason for State, for people
	Age         time.Duration // since the newest beat left its sender, as far as known here
	Uptime      time.Duration // as of the newest beat
	Count       uint64        // of the newest beat
	Missed      uint64        // beats that must have been sent since the first one that was seen, and were not seen
	Restarts    int           // new lives under the same name
	Skew        time.Duration // how far the sender's clock is ahead of the local one, and the way here; 0 when it said no time
	Flapping    bool          // its changes are not told, because there are so many
	Window      Window        // of the near past
	Beat        Beat          // the newest
}

// ServiceSummary is what a [Monitor] knows of one service.
type ServiceSummary struct {
	Service string
	States  map[State]int // instances by state; states without any are absent
	Window  Window
}

// Instances yields a snapshot, sorted by service and instance, with states as of the moment when the loop begins. It
// blocks only for the time of copying, and takes as much memory as the monitor itself for the time of the loop: where
// there are very many, Services is for who looks often.
func (m *Monitor) Instances() iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		all := m.collect("")
		slices.SortFunc(all, func(a, b view) int { return a.compare(b) })
		for _, v := range all {
			if !yield(m.instance(v)) {
				return
			}
		}
	}
}

// Alive yields the living instances of a service that take work, least loaded first: by the numbers in the fields of
// that name, one after the other, where an instance without such a number comes last, then by cpu_usage_percent.
func (m *Monitor) Alive(service string, by ...string) iter.Seq[Instance] {
	type loaded struct {
		Instance
		load []float64
	}
	return func(yield func(Instance) bool) {
		var all []loaded
		for _, v := range m.collect(service) {
			if inst := m.instance(v); inst.State == Alive && inst.Beat.Phase != PhaseDraining {
				all = append(all, loaded{inst, loads(inst.Beat, by)})
			}
		}
		slices.SortFunc(all, func(a, b loaded) int {
			return cmp.Or(slices.Compare(a.load, b.load), cmp.Compare(a.ID, b.ID))
		})
		for _, l := range all {
			if !yield(l.Instance) {
				return
			}
		}
	}
}

func loads(b Beat, by []string) []float64 {
	load := make([]float64, 0, len(by)+1)
	for _, name := range by {
		x := 1e308
		if raw, found := b.Field(name); found && json.Unmarshal(raw, &x) != nil {
			x = 1e308
		}
		load = append(load, x)
	}
	return append(load, b.CPUPercent)
}

// Services yields the sum of each service, sorted by name. It blocks only for the time of counting.
func (m *Monitor) Services() iter.Seq[ServiceSummary] {
	return func(yield func(ServiceSummary) bool) {
		sums := map[string]*ServiceSummary{}
		now := m.present()
		m.each(func(_ *shard, r *record) {
			sum := sums[r.service()]
			if sum == nil {
				sum = &ServiceSummary{Service: r.service(), States: map[State]int{}}
				sums[sum.Service] = sum
			}
			state, h := m.verdictLocked(r, now)
			sum.States[state]++
			sum.Window.add(h.window(m.tick))
		})
		for _, service := range slices.Sorted(maps.Keys(sums)) {
			if !yield(*sums[service]) {
				return
			}
		}
	}
}

// view is a copy of what is needed to make an Instance.
type view struct {
	record
	state State // the verdict, and history goes up to now
	now   time.Duration
	clock time.Time // now, by the local clock
}

func (v view) compare(o view) int {
	return cmp.Or(strings.Compare(v.service(), o.service()), strings.Compare(v.instance(), o.instance()))
}

// present returns the time of a look at what is known, after dropping what is to be forgotten by then.
func (m *Monitor) present() time.Duration {
	now := m.now()
	if !m.judging.Load() { // else Run does that
		m.forget(now)
	}
	return now
}

// collect copies the records of a service, "" for all.
func (m *Monitor) collect(service string) []view {
	var all []view
	now, clock := m.present(), time.Now()
	for i := range m.shards {
		sh := &m.shards[i]
		add := func(g *group) {
			for _, r := range g.records {
				v := view{record: *r, now: now, clock: clock}
				v.payload = slices.Clone(r.payload)
				v.state, v.history = m.verdictLocked(r, now)
				all = append(all, v)
			}
		}
		sh.mu.Lock()
		if g := sh.groups[service]; g != nil {
			add(g)
		}
		if service == "" { // no service is called that
			for _, g := range sh.groups {
				add(g)
			}
		}
		sh.mu.Unlock()
	}
	return all
}

// verdictLocked returns the state of an instance, and its history up to now.
func (m *Monitor) verdictLocked(r *record, now time.Duration) (State, history) {
	state := r.state
	if !m.judging.Load() {
		state = r.judge(m.limits(r), now)
	}
	as := asUnknown
	switch clearSince, isClear := m.sight.since(); {
	case state == Stopped:
		as = unsaid
	case state == Dead, state == Stuck && r.heard:
		as = asDown
	case state == Alive && r.heard && isClear && r.seen >= clearSince:
		as = asUp
	}
	h := r.history
	m.pass(&h, now, as)
	return state, h
}

func (m *Monitor) instance(v view) Instance {
	age := max(v.now-v.seen, 0)
	inst := Instance{
		Service: v.service(), ID: v.instance(), State: v.state, Why: why(v.state, age, m.limits(&v.record)), Age: age,
		Uptime: v.uptime, Count: v.count, Missed: v.missed, Restarts: int(v.restarts), Flapping: v.flapping,
		Window: v.history.window(m.tick), Beat: v.beat(),
	}
	if sent := inst.Beat.Time; !sent.IsZero() {
		inst.Skew = sent.Sub(v.clock.Add(-age))
	}
	return inst
}

// each calls visit for every record, with its shard locked.
func (m *Monitor) each(visit func(*shard, *record)) {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		for _, g := range sh.groups {
			for _, r := range g.records {
				visit(sh, r)
			}
		}
		sh.mu.Unlock()
	}
}
