package heartbeat

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxBeatBytes is the size up to which a beat is read. No Publisher sends a larger one.
const MaxBeatBytes = 128 << 10

const (
	maxBeatFields = 1024
	maxBeatDepth  = 32
	maxCount      = 1 << 53 // beyond it JSON numbers are not exact everywhere
	maxUptime     = 100 * 365 * 24 * time.Hour
)

// timeLayouts are the spellings of a timestamp that are understood; all take a fraction of any length. A time
// without an offset is taken for UTC.
var timeLayouts = [...]string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700"}

// ParseBeat reads a beat from a payload, of which it keeps nothing. It understands beats of other senders: only
// service_name and instance_id must be there, unknown members become the service's own fields, and those whose
// name is not printable are left out. It refuses what is larger than [MaxBeatBytes], deeper than 32 levels or
// has more than 1024 members, and a core field of the wrong type. It does not block and is safe for concurrent use.
func ParseBeat(payload []byte) (Beat, error) {
	var b Beat
	if err := b.UnmarshalJSON(payload); err != nil {
		return Beat{}, err
	}
	return b, nil
}

// UnmarshalJSON is [ParseBeat] for encoding/json.
func (b *Beat) UnmarshalJSON(payload []byte) error {
	decoded, err := decodeBeat(payload)
	if err != nil {
		return fmt.Errorf("heartbeat: not a beat: %w", err)
	}
	*b = decoded
	return nil
}

func decodeBeat(payload []byte) (Beat, error) {
	switch {
	case len(payload) > MaxBeatBytes:
		return Beat{}, fmt.Errorf("%d bytes: want at most %d", len(payload), MaxBeatBytes)
	case !utf8.Valid(payload):
		return Beat{}, errors.New("invalid UTF-8")
	case depth(payload) > maxBeatDepth:
		return Beat{}, fmt.Errorf("nested more than %d levels deep", maxBeatDepth)
	}
	// A map and not a struct: into a struct, "Timestamp" would be read as "timestamp".
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return Beat{}, err
	}
	if len(members) > maxBeatFields {
		return Beat{}, fmt.Errorf("%d members: want at most %d", len(members), maxBeatFields)
	}
	var b Beat
	if err := errors.Join(b.takeCore(members), b.takeOurs(members)); err != nil {
		return Beat{}, err
	}
	b.fields = ownFields(members)
	return b, nil
}

// takeCore moves the core fields from members to b.
func (b *Beat) takeCore(members map[string]json.RawMessage) error {
	var stamp string
	var uptime, count float64
	targets := [len(coreNames)]any{&b.Service, &b.Instance, &stamp, &uptime, &count, &b.MemoryMB, &b.CPUPercent}
	for i, name := range coreNames {
		if err := take(members, name, targets[i]); err != nil {
			return err
		}
	}
	if err := printable(b.Service, maxNameBytes); err != nil {
		return fmt.Errorf("service_name: %w", err)
	}
	if err := printable(b.Instance, maxNameBytes); err != nil {
		return fmt.Errorf("instance_id: %w", err)
	}
	if count != float64(uint64(min(max(count, 0), maxCount))) {
		return fmt.Errorf("heartbeat_count is %g: want a whole number from 0 to 2^53", count)
	}
	b.Count = uint64(count)
	b.Uptime = duration(uptime, maxUptime)
	return b.parseTime(stamp)
}

func (b *Beat) parseTime(stamp string) error {
	if stamp == "" {
		return nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, stamp); err == nil {
			b.Time = t.UTC().Truncate(time.Microsecond)
			return checkYear(t)
		}
	}
	return fmt.Errorf("timestamp is %q: want it like %q", oneLine(stamp, maxNameBytes), timeLayout)
}

// takeOurs moves the reserved object from members to b.
func (b *Beat) takeOurs(members map[string]json.RawMessage) error {
	var ours struct {
		upbeatWire
		Retain float64 `json:"retain_seconds"`
		Host   string  `json:"host"`

		Stuck     json.RawMessage `json:"stuck_seconds"`
		Ages      json.RawMessage `json:"ages_seconds"`
		Container json.RawMessage `json:"container"`
	}
	if err := take(members, reserved, &ours); err != nil {
		return err
	}
	if interval := duration(ours.Interval, maxInterval); interval > 0 {
		b.Interval = max(interval, minInterval)
	}
	b.TickLate = duration(ours.TickLate, maxInterval)
	switch ours.Phase {
	case PhaseRunning, PhaseStuck, PhaseDraining, PhaseStopped:
		b.Phase = ours.Phase
	}
	if printable(ours.Run, maxNameBytes) == nil {
		b.Run = ours.Run
	}
	if printable(ours.Host, maxNameBytes) == nil {
		b.host = ours.Host
	}
	b.retained = ours.Retain > 0
	b.takeSenders(ours.Stuck, ours.Ages, ours.Container)
	for name, reason := range ours.CollectorErrors {
		if printable(name, maxNameBytes) != nil {
			continue
		}
		if b.CollectorErrors == nil {
			b.CollectorErrors = make(map[string]string, len(ours.CollectorErrors))
		}
		b.CollectorErrors[name] = oneLine(reason, maxReason)
	}
	return nil
}

// take decodes the member of that name, when there is one, and removes it. A null leaves target as it is.
func take(members map[string]json.RawMessage, name string, target any) error {
	raw, found := members[name]
	if !found {
		return nil
	}
	delete(members, name)
	if err := json.Unmarshal(raw, target); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func ownFields(members map[string]json.RawMessage) []field {
	fields := make([]field, 0, len(members))
	for name, raw := range members {
		if printable(name, maxNameBytes) == nil {
			fields = append(fields, field{name, raw})
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}

// duration converts seconds as another process reported them, kept within 0 and limit, to the millisecond.
func duration(seconds float64, limit time.Duration) time.Duration {
	d := time.Duration(min(max(seconds, 0), limit.Seconds()) * float64(time.Second))
	return d.Round(time.Millisecond)
}

// depth returns how deep arrays and objects are nested in a JSON text.
func depth(text []byte) int {
	deepest, level, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}
