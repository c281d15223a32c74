package heartbeat

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"
)

// Beat is one heartbeat message: what a [Publisher] sends and what [ParseBeat] reads. It is written and read as
// JSON by its own methods, so encoding/json takes it as it is. A Beat is never changed after it was made, and may
// be copied and read from several goroutines.
type Beat struct {
	// Service and Instance name the sender. They are never empty, at most 128 bytes, and printable.
	Service, Instance string
	// Time is the sender's clock in UTC, to the microsecond; zero when it was not said. No verdict rests on it.
	Time time.Time
	// Uptime is how long the sender has been running by its own account.
	Uptime time.Duration
	// Count is the number of this beat among those that the sender tried to send, from 1; 0 when it was not said.
	// A gap between two beats is the number that were lost.
	Count uint64
	// MemoryMB is the resident memory of the sender's process in units of 1048576 bytes.
	MemoryMB float64
	// CPUPercent is the processor time used since the sender's previous beat; 100 is one core.
	CPUPercent float64

	// Interval is the longest wait between two beats of this sender; 0 when it was not said.
	Interval time.Duration
	// Phase is where the sender is in its life; empty when it was not said.
	Phase Phase
	// TickLate is how much later than planned this beat was started: a sender short of processor time.
	TickLate time.Duration
	// Run tells one life of an instance name from the next; empty when it was not said.
	Run string
	// CollectorErrors names the collectors that gave no value, and why, in one printable line each.
	CollectorErrors map[string]string
	// Stuck names the loops that make no progress, and for how long each has made none.
	Stuck map[string]time.Duration
	// Ages says of fields that are collected at a pace of their own how old their value was.
	Ages map[string]time.Duration
	// Container has the figures of the container that the sender runs in; nil when they were not said.
	Container *Container

	host     string  // where the sender runs; empty when it was not said
	retained bool    // Redis keeps the newest beat of this sender
	fields   []field // the service's own, sorted by name, none twice
}

// field is one of the service's own values, as JSON.
type field struct {
	name string
	raw  json.RawMessage
}

// Phase is where a sender is in its life, by its own account.
type Phase string

// The phases of a sender.
const (
	PhaseRunning  Phase = "running"
	PhaseStuck    Phase = "stuck"    // its work makes no progress
	PhaseDraining Phase = "draining" // it takes no new work and is about to stop
	PhaseStopped  Phase = "stopped"  // it said goodbye; any later beat revokes that
)

// Field returns the JSON of one of the service's own fields. It does not block; the result is not to be modified. It is
// as the sender wrote it, and may have in it what a terminal takes for a command.
func (b Beat) Field(name string) (json.RawMessage, bool) {
	i, found := slices.BinarySearchFunc(b.fields, name, func(f field, name string) int {
		return strings.Compare(f.name, name)
	})
	if !found {
		return nil, false
	}
	return b.fields[i].raw, true
}

// Fields yields the service's own fields as JSON, sorted by name, as Field returns them. It does not block; the values
// are not to be modified.
func (b Beat) Fields() iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for _, f := range b.fields {
			if !yield(f.name, f.raw) {
				return
			}
		}
	}
}
