package heartbeat

import (
	"context"
	"reflect"
	"time"
)

// NewWatching returns a monitor on a simulated broker.
func NewWatching(ears Radio, cfg MonitorConfig) (*Monitor, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return newMonitor(radioOf{ears}, cfg), nil
}

// Radio is the broker as a Monitor sees it, for tests to make up.
type Radio interface {
	Listen(ctx context.Context, s Sink)
	Canary(ctx context.Context, token string) error
	Newest(ctx context.Context, services, instances []string) ([]Kept, error)
	Sweep(ctx context.Context, yield func(Kept) bool) error
}

// Kept is a retained beat; one without a payload was not found.
type Kept struct {
	Payload []byte
	Age     time.Duration
}

func (k Kept) retained() retained { return retained{k.Payload, k.Age, k.Payload != nil} }

// Sink is where a Radio delivers to.
type Sink struct{ s sink }

// Message delivers a payload.
func (s Sink) Message(payload []byte) { s.s.message("", payload) }

// Canary delivers a canary.
func (s Sink) Canary(path, token string) { s.s.canary(path, token) }

// Path changes the state of a path.
func (s Sink) Path(path string, up bool, why string) { s.s.path(path, up, why) }

// Gone removes a path.
func (s Sink) Gone(path string) { s.s.gone(path) }

type radioOf struct{ r Radio }

func (r radioOf) listen(ctx context.Context, s sink)             { r.r.Listen(ctx, Sink{s}) }
func (r radioOf) canary(ctx context.Context, token string) error { return r.r.Canary(ctx, token) }

func (r radioOf) newest(ctx context.Context, of []instanceKey) ([]retained, error) {
	var services, instances []string
	for _, k := range of {
		services, instances = append(services, k.service), append(instances, k.instance)
	}
	kept, err := r.r.Newest(ctx, services, instances)
	var all []retained
	for _, k := range kept {
		all = append(all, k.retained())
	}
	return all, err
}

func (r radioOf) sweep(ctx context.Context, yield func(retained) bool) error {
	return r.r.Sweep(ctx, func(k Kept) bool { return yield(k.retained()) })
}

// ScanAgrees says whether the quick reading of a payload took it, and whether it then agrees with ParseBeat.
func ScanAgrees(payload []byte) (took, agrees bool) {
	quick, took := scanCore(payload)
	if !took {
		return false, true
	}
	beat, err := ParseBeat(payload)
	if err != nil {
		return true, false
	}
	return true, reflect.DeepEqual(quick, coreOf(&beat))
}

// Stretch puts a pause before each of the monitor's looks, as the operating system may do.
func (m *Monitor) Stretch(pause func()) {
	m.rest = func(ctx context.Context, d time.Duration) bool {
		ok := rest(ctx, d)
		pause()
		return ok
	}
}

// Look is one look of Run.
func (m *Monitor) Look(ctx context.Context) { m.look(ctx, nil) }

// Groups counts what is kept by service.
func (m *Monitor) Groups() (n int) {
	for i := range m.shards {
		n += len(m.shards[i].groups)
	}
	return n
}
