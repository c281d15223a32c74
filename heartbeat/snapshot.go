package heartbeat

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	snapshotVersion = 1
	maxSnapshotLine = 4 * MaxBeatBytes
)

// ErrSnapshot is within the error of [Monitor.Restore] for what is no complete snapshot of a version that it knows.
var ErrSnapshot = errors.New("heartbeat: not a snapshot")

// snapshotHead is the first line of a snapshot; one line for each instance follows.
type snapshotHead struct {
	Version   int      `json:"upbeat_snapshot"`
	Instances int      `json:"instances"`
	Tick      int64    `json:"tick"` // of histories, in nanoseconds
	Missing   []string `json:"missing,omitempty"`
}

// snapshotLine is an instance. Times are ages, in nanoseconds: clocks of two processes have nothing in common.
type snapshotLine struct {
	Beat     []byte        `json:"beat"`
	Seen     time.Duration `json:"seen"`
	First    time.Duration `json:"first"`
	Since    time.Duration `json:"since"`
	State    State         `json:"state"`
	Missed   uint64        `json:"missed,omitzero"`
	Before   uint64        `json:"before,omitzero"`
	Restarts uint32        `json:"restarts,omitzero"`
	Flapping bool          `json:"flapping,omitzero"`
	Slots    []slot        `json:"slots"` // oldest first, the present one last
	Away     int64         `json:"away,omitzero"`
}

// Snapshot writes what the monitor knows, one line of JSON for each instance, for Restore to read. It doesn't keep
// Observe waiting while it writes, so what is written is not of one single moment.
func (m *Monitor) Snapshot(w io.Writer) error {
	now := m.now()
	all := m.collect(func(*group) bool { return true })
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	head := snapshotHead{Version: snapshotVersion, Instances: len(all), Tick: int64(m.tick), Missing: m.Missing()}
	if err := lines.Encode(head); err != nil {
		return fmt.Errorf("heartbeat: write a snapshot: %w", err)
	}
	for _, v := range all {
		if v.history.at(m.ticks(now)); v.state == Dead {
			v.history.pass(m.ticks(now), false, true)
		}
		line := snapshotLine{
			Beat: v.payload, Seen: now - v.seen, First: now - v.first, Since: now - v.since, State: v.state,
			Missed: v.missed, Before: v.before, Restarts: v.restarts, Flapping: v.flapping, Away: v.history.Away,
		}
		for i := range int64(slots) {
			line.Slots = append(line.Slots, v.history.Slots[floorMod(v.history.Head-slots+1+i)])
		}
		if err := lines.Encode(line); err != nil {
			return fmt.Errorf("heartbeat: write a snapshot: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("heartbeat: write a snapshot: %w", err)
	}
	return nil
}

// Restore reads what Snapshot wrote into a monitor that knows nothing yet, before Run. Nothing that was told is told
// again. The time between is unknown: ages go on from where they were, but count as silence only from now on.
// Anything wrong with the input is an error, and then the monitor knows nothing still.
func (m *Monitor) Restore(r io.Reader) error {
	if m.started.Load() || m.held.Load() > 0 {
		return errors.New("heartbeat: Monitor.Restore: want a monitor that knows nothing yet, before Run")
	}
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxSnapshotLine)
	head, err := m.readHead(in)
	if err != nil {
		return err
	}
	var lines []snapshotLine
	seen := map[string]bool{}
	for in.Scan() {
		line, key, err := readLine(in.Bytes())
		switch {
		case err != nil:
			return fmt.Errorf("%w: instance %d: %w", ErrSnapshot, len(lines)+1, err)
		case seen[key]:
			return fmt.Errorf("%w: instance %d is there twice", ErrSnapshot, len(lines)+1)
		case len(lines) >= head.Instances:
			return fmt.Errorf("%w: more than the %d instances announced", ErrSnapshot, head.Instances)
		}
		seen[key] = true
		lines = append(lines, line)
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if len(lines) != head.Instances {
		return fmt.Errorf("%w: it breaks off after %d of %d instances", ErrSnapshot, len(lines), head.Instances)
	}
	now := m.now()
	for _, line := range lines {
		m.restore(line, head.Tick == int64(m.tick), now)
	}
	m.roster.restore(head.Missing)
	return nil
}

func (m *Monitor) readHead(in *bufio.Scanner) (snapshotHead, error) {
	var head snapshotHead
	if !in.Scan() || json.Unmarshal(in.Bytes(), &head) != nil || head.Version == 0 {
		return head, fmt.Errorf("%w: it does not begin like one", ErrSnapshot)
	}
	switch {
	case head.Version != snapshotVersion:
		return head, fmt.Errorf("%w: version %d: want %d", ErrSnapshot, head.Version, snapshotVersion)
	case head.Instances < 0 || head.Instances > m.cfg.MaxInstances:
		return head, fmt.Errorf("%w: %d instances: MonitorConfig.MaxInstances is %d", ErrSnapshot, head.Instances, m.cfg.MaxInstances)
	}
	return head, nil
}

func readLine(text []byte) (line snapshotLine, key string, err error) {
	if err := json.Unmarshal(text, &line); err != nil {
		return line, "", err
	}
	beat, err := ParseBeat(line.Beat)
	if err != nil {
		return line, "", err
	}
	const limit = 100 * 365 * 24 * time.Hour
	for _, age := range []time.Duration{line.Seen, line.First, line.Since} {
		if age < 0 || age > limit {
			return line, "", fmt.Errorf("an age of %v", age)
		}
	}
	if len(line.Slots) != slots || line.Away < 0 {
		return line, "", fmt.Errorf("%d slots: want %d", len(line.Slots), slots)
	}
	return line, beat.Service + "\x00" + beat.Instance, nil
}

// restore adds an instance as it was.
func (m *Monitor) restore(line snapshotLine, sameWindow bool, now time.Duration) {
	beat, err := ParseBeat(line.Beat)
	if err != nil {
		return // not reached: it was read before
	}
	c := coreOf(&beat)
	key := appendKey(nil, c.service, c.instance)
	sh := m.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := m.addLocked(sh, string(key), beat.Service)
	m.held.Add(1)
	r.take(&c)
	m.keepLocked(sh, r, line.Beat)
	r.seen, r.first, r.since, r.calmFrom = now-line.Seen, now-line.First, now-line.Since, now
	r.heard = false
	r.state, r.missed, r.before, r.restarts, r.flapping = line.State, line.Missed, line.Before, line.Restarts, line.Flapping
	r.history = history{Head: floorDiv(m.ticks(now), ticksOfSlot), Done: m.ticks(now), Away: line.Away}
	if sameWindow {
		for i, s := range line.Slots {
			r.history.Slots[floorMod(r.history.Head-slots+1+int64(i))] = s
		}
	}
	if r.state != Dead && r.state != Stopped || r.flapping {
		r.due = now
	} else {
		r.due = never
	}
	m.roster.came(beat.Service)
}
