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

var errKnowing = errors.New("heartbeat: Monitor.Restore: want a monitor that knows nothing yet, before Run")

// snapshotHead is the first line of a snapshot; one line for each instance follows.
type snapshotHead struct {
	Version   int           `json:"upbeat_snapshot"`
	Instances int           `json:"instances"`
	Tick      int64         `json:"tick"`   // of histories, in nanoseconds
	Offset    int64         `json:"offset"` // ticks of their newest slot that have passed
	Missing   []string      `json:"missing,omitempty"`
	Held      bool          `json:"held,omitzero"`  // deaths are held back
	Left      time.Duration `json:"left,omitzero"`  // for how long still
	Spent     bool          `json:"spent,omitzero"` // they were, and the time was up
}

// snapshotLine is an instance. Times are ages, in nanoseconds: clocks of two processes have nothing in common.
type snapshotLine struct {
	Beat     []byte        `json:"beat"`
	Seen     time.Duration `json:"seen"`
	Since    time.Duration `json:"since"`
	State    State         `json:"state"` // as it was told
	Missed   uint64        `json:"missed,omitzero"`
	Run      uint64        `json:"run,omitzero"`
	Before   uint64        `json:"before,omitzero"`
	Restarts uint32        `json:"restarts,omitzero"`
	Keeps    bool          `json:"keeps,omitzero"`
	Flapping bool          `json:"flapping,omitzero"`
	Turns    uint32        `json:"turns,omitzero"`   // counted since Calm
	Calm     time.Duration `json:"calm,omitzero"`    // since when turns are counted
	Mourned  time.Duration `json:"mourned,omitzero"` // when its death was last told while it flapped

	Slots []slot             `json:"slots"` // oldest first, the present one last, and so is Spent
	Spent [][accounts]uint16 `json:"spent"`
}

// Snapshot writes what the monitor knows, one line of JSON for each instance, for Restore to read. It doesn't keep
// Observe waiting while it writes, so what is written is not of one single moment.
func (m *Monitor) Snapshot(w io.Writer) error {
	all := m.collect("")
	now := m.now() // after all that was heard before
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	head := snapshotHead{
		Version: snapshotVersion, Instances: len(all), Missing: m.Missing(),
		Tick: int64(m.tick), Offset: m.ticks(now) - slotOf(m.ticks(now))*ticksOfSlot,
	}
	head.Held, head.Left, head.Spent = m.mass.snapshot(now)
	err := lines.Encode(head)
	for _, v := range all {
		if err != nil {
			break
		}
		v.history.pass(m.ticks(now), unsaid)
		err = lines.Encode(v.line(now))
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("heartbeat: write a snapshot: %w", err)
	}
	return nil
}

func (v *view) line(now time.Duration) snapshotLine {
	line := snapshotLine{
		Beat: v.payload, Seen: now - v.seen, Since: now - v.since, State: v.record.state,
		Missed: v.missed, Run: v.run, Before: v.before, Restarts: v.restarts, Keeps: v.keeps, Flapping: v.flapping,
		Turns: v.turns, Calm: now - v.calmFrom,
	}
	if v.mourned != 0 {
		line.Mourned = now - v.mourned
	}
	if len(line.Beat) == 0 {
		line.Beat, _ = json.Marshal(v.beat()) // of names and numbers alone
	}
	for n := slotOf(v.history.done) - slots + 1; len(line.Slots) < slots; n++ {
		line.Slots = append(line.Slots, v.history.slots[floorMod(n)])
		line.Spent = append(line.Spent, v.history.spent[floorMod(n)])
	}
	return line
}

// Restore reads what Snapshot wrote into a monitor that knows nothing yet, before Run. Nothing that was told is told
// again. The time between is unknown: ages go on from where they were, but count as silence only from now on.
// Anything wrong with the input is an error, and then the monitor knows nothing still. What it holds meanwhile is
// bounded like what a monitor holds.
func (m *Monitor) Restore(r io.Reader) error {
	if m.started.Load() || m.held.Load() > 0 {
		return errKnowing
	}
	fresh := newMonitor(nil, m.cfg)
	fresh.seed, fresh.epoch = m.seed, m.epoch
	head, err := fresh.read(bufio.NewReaderSize(r, maxSnapshotLine))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return m.adopt(fresh, head)
}

// read fills an empty monitor.
func (m *Monitor) read(in *bufio.Reader) (head snapshotHead, err error) {
	text, err := nextLine(in)
	if err != nil || json.Unmarshal(text, &head) != nil || head.Version == 0 {
		return head, errors.New("it does not begin like one")
	}
	if err := m.checkHead(head); err != nil {
		return head, err
	}
	now := m.now()
	m.zero.Store(int64(now) - head.Offset*int64(m.tick)) // slots go on where they were
	for n := 1; ; n++ {
		text, err := nextLine(in)
		switch {
		case errors.Is(err, io.EOF) && n > head.Instances:
			return head, nil
		case errors.Is(err, io.EOF):
			err = errors.New("it breaks off before")
		case err == nil && n > head.Instances:
			err = fmt.Errorf("no more than %d were announced", head.Instances)
		case err == nil:
			err = m.readLine(text, head, now)
		}
		if err != nil {
			return head, fmt.Errorf("instance %d: %w", n, err)
		}
	}
}

// nextLine returns a line that was written to its end, valid until the next one; io.EOF when there is none.
func nextLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = errors.New("it breaks off within a line")
	}
	return line, err
}

func (m *Monitor) checkHead(head snapshotHead) error {
	switch {
	case head.Version != snapshotVersion:
		return fmt.Errorf("version %d: want %d", head.Version, snapshotVersion)
	case head.Instances < 0 || head.Instances > m.cfg.MaxInstances:
		return fmt.Errorf("%d instances: MonitorConfig.MaxInstances is %d", head.Instances, m.cfg.MaxInstances)
	case head.Offset < 0 || head.Offset >= ticksOfSlot:
		return fmt.Errorf("an offset of %d: want 0 to %d", head.Offset, ticksOfSlot-1)
	}
	return nil
}

// check returns what is wrong with a line.
func (l *snapshotLine) check(head snapshotHead) error {
	const limit = 100 * 365 * 24 * time.Hour
	for _, age := range []time.Duration{l.Seen, l.Since, l.Calm, l.Mourned} {
		if age < 0 || age > limit {
			return fmt.Errorf("an age of %v", age)
		}
	}
	if len(l.Slots) != slots || len(l.Spent) != slots {
		return fmt.Errorf("%d and %d slots: want %d", len(l.Slots), len(l.Spent), slots)
	}
	for i, spent := range l.Spent {
		room := int64(ticksOfSlot)
		if i == slots-1 {
			room = head.Offset
		}
		if sum := int64(spent[asUp]) + int64(spent[asDown]) + int64(spent[asUnknown]); sum > room {
			return fmt.Errorf("%d ticks in a slot of %d", sum, room)
		}
	}
	return nil
}

// readLine adds an instance as it was.
func (m *Monitor) readLine(text []byte, head snapshotHead, now time.Duration) error {
	var line snapshotLine
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	beat, err := ParseBeat(line.Beat)
	if err = errors.Join(err, line.check(head)); err != nil {
		return err
	}
	c := coreOf(&beat)
	key := appendKey(nil, c.service, c.instance)
	sh := m.shard(key)
	if sh.find[string(key)] != nil {
		return errors.New("it is there twice")
	}
	r := m.addLocked(sh, string(key), beat.Service)
	m.held.Add(1)
	m.roster.came(beat.Service)
	r.take(&c)
	m.keepLocked(sh, r, line.Beat)
	if r.state = line.State; r.state == Stopped {
		r.phase = phaseIndex(PhaseStopped) // even where another in its place has said so
	}
	r.seen, r.since, r.calmFrom, r.heard = now-line.Seen, now-line.Since, now-line.Calm, false
	if r.turns = line.Turns; line.Mourned > 0 {
		r.mourned = now - line.Mourned
	}
	r.missed, r.run, r.before, r.restarts = line.Missed, line.Run, line.Before, line.Restarts
	r.keeps, r.flapping = line.Keeps, line.Flapping
	r.history.done = m.ticks(now)
	if head.Tick == int64(m.tick) {
		for i := range int64(slots) {
			n := floorMod(slotOf(r.history.done) - slots + 1 + i)
			r.history.slots[n], r.history.spent[n] = line.Slots[i], line.Spent[i]
		}
	}
	r.due = now
	return nil
}

// adopt takes over what a fresh monitor was told, unless something was heard meanwhile.
func (m *Monitor) adopt(fresh *Monitor, head snapshotHead) error {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		defer m.shards[i].mu.Unlock()
	}
	if m.held.Load() > 0 {
		return errKnowing
	}
	for i := range m.shards {
		m.shards[i].find, m.shards[i].groups = fresh.shards[i].find, fresh.shards[i].groups
		m.shards[i].trimmed += fresh.shards[i].trimmed
	}
	now := m.now()
	m.held.Add(fresh.held.Load())
	m.bytes.Add(fresh.bytes.Load())
	m.zero.Store(fresh.zero.Load())
	m.roster.restore(fresh.roster, head.Missing)
	m.mass.restore(head, m.cfg.MassHold, now)
	m.sight.stoodStill(span{0, now})
	return nil
}
