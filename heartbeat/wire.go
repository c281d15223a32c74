package heartbeat

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	wireVersion = 1
	timeLayout  = "2006-01-02T15:04:05.000000-07:00"
	reserved    = "upbeat" // the one name beside the core ones that is not the service's to use
)

// coreNames are the names of the wire format in their order on the wire.
var coreNames = [...]string{
	"service_name", "instance_id", "timestamp", "uptime_seconds", "heartbeat_count", "memory_usage_mb", "cpu_usage_percent",
}

// coreWire is the part of a beat that every sender has. Its names are a contract.
type coreWire struct {
	Service    string  `json:"service_name"`
	Instance   string  `json:"instance_id"`
	Time       string  `json:"timestamp"`
	Uptime     float64 `json:"uptime_seconds"`
	Count      uint64  `json:"heartbeat_count"`
	MemoryMB   float64 `json:"memory_usage_mb"`
	CPUPercent float64 `json:"cpu_usage_percent"`
}

// upbeatWire is what this package adds to a beat, under the reserved name.
type upbeatWire struct {
	Version         int               `json:"v"`
	Interval        float64           `json:"interval_seconds,omitempty"`
	Phase           Phase             `json:"state,omitempty"`
	TickLate        float64           `json:"tick_late_seconds"`
	Run             string            `json:"run,omitempty"`
	CollectorErrors map[string]string `json:"collector_errors,omitempty"`
}

// senderWire is what only a Publisher says beside that.
type senderWire struct {
	upbeatWire
	Retain    float64            `json:"retain_seconds,omitempty"` // for how long Redis keeps this beat
	Host      string             `json:"host,omitempty"`
	Stuck     map[string]float64 `json:"stuck_seconds,omitempty"` // by loop
	Ages      map[string]float64 `json:"ages_seconds,omitempty"`  // by field
	Container *Container         `json:"container,omitempty"`
}

// MarshalJSON returns the wire form: the core names in their documented order, the service's own fields sorted,
// then the reserved object. It fails on a value that JSON can't hold, such as a NaN, and on a year beyond 9999.
// It does not block.
func (b Beat) MarshalJSON() ([]byte, error) { return b.encode(0) }

// encode returns the wire form of a beat that Redis keeps for so many seconds.
func (b Beat) encode(retain int64) ([]byte, error) {
	if err := checkYear(b.Time); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	core, err := json.Marshal(coreWire{
		Service: b.Service, Instance: b.Instance, Time: b.Time.UTC().Format(timeLayout),
		Uptime: wireSeconds(b.Uptime), Count: b.Count, MemoryMB: b.MemoryMB, CPUPercent: b.CPUPercent,
	})
	if err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	ours, err := json.Marshal(senderWire{
		upbeatWire: upbeatWire{
			Version: wireVersion, Interval: b.Interval.Seconds(), Phase: b.Phase,
			TickLate: wireSeconds(b.TickLate), Run: b.Run, CollectorErrors: b.CollectorErrors,
		},
		Retain: float64(retain), Host: b.host,
		Stuck: allSeconds(b.Stuck), Ages: allSeconds(b.Ages), Container: b.Container,
	})
	if err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	out := core[:len(core)-1]
	for _, f := range b.fields {
		out = appendMember(out, f.name, f.raw)
	}
	return append(appendMember(out, reserved, ours), '}'), nil
}

// checkYear refuses times that the wire format has no room for.
func checkYear(t time.Time) error {
	if year := t.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("timestamp is in the year %d: want 1 to 9999", year)
	}
	return nil
}

func appendMember(out []byte, name string, raw []byte) []byte {
	quoted, _ := json.Marshal(name) // a string always encodes
	out = append(out, ',')
	out = append(out, quoted...)
	out = append(out, ':')
	return append(out, raw...)
}

// wireSeconds rounds to the millisecond: more digits would only be noise.
func wireSeconds(d time.Duration) float64 {
	return d.Round(time.Millisecond).Seconds()
}

func allSeconds(durations map[string]time.Duration) map[string]float64 {
	if len(durations) == 0 {
		return nil
	}
	all := make(map[string]float64, len(durations))
	for name, d := range durations {
		all[name] = wireSeconds(d)
	}
	return all
}

// takeSenders takes in what a Publisher says beside the fields that a verdict rests on. What can't be read is
// left out, for the beat is no worse without.
func (b *Beat) takeSenders(stuck, ages, container json.RawMessage) {
	b.Stuck, b.Ages = readDurations(stuck), readDurations(ages)
	if len(container) == 0 {
		return
	}
	var c Container
	if json.Unmarshal(container, &c) == nil && c != (Container{}) {
		b.Container = &c
	}
}

func readDurations(raw json.RawMessage) map[string]time.Duration {
	var all map[string]float64
	if len(raw) == 0 || json.Unmarshal(raw, &all) != nil || len(all) == 0 {
		return nil
	}
	durations := make(map[string]time.Duration, len(all))
	for name, seconds := range all {
		if printable(name, maxNameBytes) == nil {
			durations[name] = duration(seconds, maxUptime)
		}
	}
	return durations
}

// round1 rounds to one decimal, as the figures of a process are sent.
func round1(x float64) float64 {
	return math.Round(x*10) / 10
}

// isReserved says whether a service's own field may not be called name. Case is ignored because readers that
// decode into structs, in Go among others, ignore it too.
func isReserved(name string) bool {
	same := func(core string) bool { return strings.EqualFold(core, name) }
	return same(reserved) || slices.ContainsFunc(coreNames[:], same)
}
