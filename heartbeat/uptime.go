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

// slot is one part of a window, in ticks.
type slot struct {
	Up     uint16  `json:"u,omitzero"`
	Down   uint16  `json:"d,omitzero"`
	Beats  uint32  `json:"b,omitzero"`
	Missed uint32  `json:"m,omitzero"`
	Memory float32 `json:"mem,omitzero"`
	CPU    float32 `json:"cpu,omitzero"`
}

// history is the window of one instance. Times are given in ticks since the monitor's epoch.
type history struct {
	Slots [slots]slot
	Head  int64 // the number of the newest slot
	Done  int64 // up to where time is accounted for
	Away  int64 // of that, the time of which nothing is said, after goodbyes
}

// at moves on to the slot of a tick, and returns it; nil for one that has left the window.
func (h *history) at(tick int64) *slot {
	n := floorDiv(tick, ticksOfSlot)
	if n > h.Head+slots {
		h.Head = n - slots
	}
	for h.Head < n {
		h.Head++
		h.Slots[floorMod(h.Head)] = slot{}
	}
	if n <= h.Head-slots {
		return nil
	}
	return &h.Slots[floorMod(n)]
}

// pass accounts for the time up to a tick.
func (h *history) pass(to int64, up, known bool) {
	if h.at(to); h.Done < (h.Head-slots+1)*ticksOfSlot {
		h.Done = min(to, (h.Head-slots+1)*ticksOfSlot)
	}
	for h.Done < to {
		s := h.at(h.Done)
		end := min(to, (floorDiv(h.Done, ticksOfSlot)+1)*ticksOfSlot)
		switch {
		case !known:
		case up:
			s.Up += uint16(end - h.Done)
		default:
			s.Down += uint16(end - h.Done)
		}
		h.Done = end
	}
}

// skip leaves the time up to a tick out of account.
func (h *history) skip(to int64) {
	if to > h.Done {
		h.Away += to - h.Done
		h.Done = to
	}
}

// beat counts one that was seen and those missed before it.
func (h *history) beat(tick int64, missed uint64, memory, cpu float64) {
	s := h.at(tick)
	if s == nil {
		return
	}
	s.Beats++
	s.Missed += uint32(min(missed, uint64(^uint32(0)-s.Missed)))
	s.Memory += (float32(memory) - s.Memory) / float32(s.Beats)
	s.CPU += (float32(cpu) - s.CPU) / float32(s.Beats)
}

// window sums up; first is the tick from which on the instance was known.
func (h *history) window(first int64, tick time.Duration) Window {
	var w Window
	for _, s := range h.Slots {
		w.add(Window{
			Up: time.Duration(s.Up) * tick, Down: time.Duration(s.Down) * tick,
			Beats: uint64(s.Beats), Missed: uint64(s.Missed), MemoryMB: float64(s.Memory), CPUPercent: float64(s.CPU),
		})
	}
	first = max(first, (h.Head-slots+1)*ticksOfSlot)
	w.Unknown = max(time.Duration(h.Done-first-h.Away)*tick-w.Up-w.Down, 0)
	return w
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(n int64) int64 { return ((n % slots) + slots) % slots }
