package heartbeat

import "time"

const (
	slots       = 8      // parts of a window
	ticksOfSlot = 60_000 // the smallest time that is counted is a slot's 60,000th
)

// Window is what is known of an instance or a service over MonitorConfig.Window, to an eighth of it: the oldest
// part is dropped as a whole. Of a service it is the sum over its instances, and the mean for the figures.
type Window struct {
	// Up and Down are what is known; Unknown is the rest of the time since the instance was first seen: the monitor
	// was blind, or had been restarted. An instance is down from its last beat before it died to its next, and
	// while it says that it is stuck; the time after a goodbye is none of these.
	Up      time.Duration `json:"up"`
	Down    time.Duration `json:"down"`
	Unknown time.Duration `json:"unknown"`

	Beats  uint64 `json:"beats"`  // seen
	Missed uint64 `json:"missed"` // sent and not seen

	MemoryMB   float64 `json:"memory_mb"`   // the mean over the beats seen
	CPUPercent float64 `json:"cpu_percent"` // the mean over the beats seen
}

// Ratio returns the share of the known time that was up, 0 to 1, and whether any time is known.
func (w Window) Ratio() (float64, bool) {
	known := w.Up + w.Down
	if known == 0 {
		return 0, false
	}
	return float64(w.Up) / float64(known), true
}

// add makes w the sum of both.
func (w *Window) add(o Window) {
	if all := float64(w.Beats + o.Beats); all > 0 {
		own, other := float64(w.Beats)/all, float64(o.Beats)/all
		w.MemoryMB = w.MemoryMB*own + o.MemoryMB*other
		w.CPUPercent = w.CPUPercent*own + o.CPUPercent*other
	}
	w.Up, w.Down, w.Unknown = w.Up+o.Up, w.Down+o.Down, w.Unknown+o.Unknown
	w.Beats, w.Missed = w.Beats+o.Beats, w.Missed+o.Missed
}

// slot is one part of a window.
type slot struct {
	Beats  uint32  `json:"b,omitzero"`
	Missed uint32  `json:"m,omitzero"`
	Memory float32 `json:"mem,omitzero"`
	CPU    float32 `json:"cpu,omitzero"`
}

// account is what a time is counted as.
type account int

const (
	asUp account = iota
	asDown
	asUnknown
	accounts
	unsaid = accounts // and so not counted
)

// history is the window of one instance. Times are given in ticks.
type history struct {
	slots [slots]slot
	spent [slots][accounts]uint16 // ticks of each slot, no more than ticksOfSlot together
	done  int64                   // up to where time is accounted for, which lies in the newest slot
}

// pass accounts for the time up to a tick.
func (h *history) pass(to int64, as account) {
	if to <= h.done {
		return
	}
	oldest := slotOf(to) - slots + 1
	for n := max(slotOf(h.done)+1, oldest); n <= slotOf(to); n++ {
		h.slots[floorMod(n)], h.spent[floorMod(n)] = slot{}, [accounts]uint16{}
	}
	h.done = max(h.done, oldest*ticksOfSlot)
	for h.done < to {
		n := slotOf(h.done)
		end := min(to, (n+1)*ticksOfSlot)
		if as != unsaid {
			h.spent[floorMod(n)][as] += uint16(end - h.done)
		}
		h.done = end
	}
}

// beat counts one that was seen, no later than what is accounted for, and those missed before it.
func (h *history) beat(tick int64, missed uint64, memory, cpu float64) {
	n := slotOf(tick)
	if n <= slotOf(h.done)-slots {
		return
	}
	s := &h.slots[floorMod(n)]
	s.Beats = max(s.Beats+1, s.Beats) // never 0
	s.Missed += uint32(min(missed, uint64(^uint32(0)-s.Missed)))
	s.Memory += (figure(memory) - s.Memory) / float32(s.Beats)
	s.CPU += (figure(cpu) - s.CPU) / float32(s.Beats)
}

// figure makes a number of a stranger one that can be summed up: with an infinity in it no snapshot could be written.
func figure(x float64) float32 { return float32(min(max(x, -1e30), 1e30)) }

// window sums up.
func (h *history) window(tick time.Duration) Window {
	var w Window
	for i, s := range h.slots {
		spent := func(as account) time.Duration { return time.Duration(h.spent[i][as]) * tick }
		w.add(Window{
			Up: spent(asUp), Down: spent(asDown), Unknown: spent(asUnknown),
			Beats: uint64(s.Beats), Missed: uint64(s.Missed), MemoryMB: float64(s.Memory), CPUPercent: float64(s.CPU),
		})
	}
	return w
}

func slotOf(tick int64) int64 { return floorDiv(tick, ticksOfSlot) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(n int64) int64 { return ((n % slots) + slots) % slots }
