package heartbeat

import (
	"context"
	"iter"
	"sync"
	"time"
)

// EventKind is what an [Event] says.
type EventKind string

// The events of an instance, then those of a service, then those of the monitor itself.
const (
	EventStarted   EventKind = "started"   // seen for the first time
	EventAlive     EventKind = "alive"     // heard again after having been stale
	EventStale     EventKind = "stale"     // late
	EventDead      EventKind = "dead"      // silent for so long that it must be taken for gone
	EventStuck     EventKind = "stuck"     // beats, and says that its work makes no progress
	EventStopped   EventKind = "stopped"   // said goodbye
	EventRestarted EventKind = "restarted" // a new life under the same name, or in its predecessor's place
	EventRecovered EventKind = "recovered" // alive after having been dead, stuck or stopped
	EventFlapping  EventKind = "flapping"  // changes so often that its changes are not told until it has settled
	EventSettled   EventKind = "settled"   // has stopped flapping, in the state that State says

	EventMissing EventKind = "missing" // no instance of an expected service is known

	EventBlind       EventKind = "blind"        // the monitor can't hear: no verdicts until it can
	EventSighted     EventKind = "sighted"      // it hears again, and ages begin anew
	EventMassSilence EventKind = "mass_silence" // most of the fleet fell silent at once: deaths are held back
	EventMassOver    EventKind = "mass_over"    // the end of that: they came back, or the time is up
)

// Event is one change, told once.
type Event struct {
	Kind     EventKind `json:"kind"`
	At       time.Time `json:"at"` // when it was noticed, by the local clock
	Service  string    `json:"service,omitempty"`
	Instance string    `json:"instance,omitempty"`
	State    State     `json:"state"`             // of the instance from now on
	Why      string    `json:"why"`               // one printable line
	Dropped  uint64    `json:"dropped,omitempty"` // events before this one that this reader was too slow for
}

// feed brings events to their readers.
type feed struct {
	mu      sync.Mutex
	readers map[*reader]struct{} // guarded by mu
	told    uint64               // guarded by mu
	dropped uint64               // guarded by mu
}

// reader is one that Events was called for. All but wake is guarded by the feed's mutex.
type reader struct {
	events  []Event // oldest first, no more than limit
	limit   int
	dropped uint64
	wake    chan struct{}
}

// Events yields what happens from this call on, until ctx ends or the loop is left. Each call has a reader of its
// own, of MonitorConfig.EventBuffer events: a slow one loses the oldest, and is told how many. The loop waits for
// events; nothing else waits for the loop. Changes by silence are noticed while Run runs, those by a beat always. The
// result is for one loop: another over it finds nothing and waits for ctx to end. Without a loop it takes events in until
// ctx ends.
func (m *Monitor) Events(ctx context.Context) iter.Seq[Event] {
	r := m.feed.open(m.cfg.EventBuffer)
	detach := context.AfterFunc(ctx, func() { m.feed.close(r) })
	return func(yield func(Event) bool) {
		defer func() {
			detach()
			m.feed.close(r)
		}()
		for {
			for {
				e, ok := m.feed.next(r)
				if !ok {
					break
				}
				if !yield(e) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
		}
	}
}

func (f *feed) open(limit int) *reader {
	r := &reader{limit: limit, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == nil {
		f.readers = map[*reader]struct{}{}
	}
	f.readers[r] = struct{}{}
	return r
}

func (f *feed) close(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
}

func (f *feed) next(r *reader) (Event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(r.events) == 0 {
		return Event{}, false
	}
	e := r.events[0]
	r.events = r.events[1:]
	e.Dropped, r.dropped = r.dropped, 0
	return e, true
}

func (f *feed) tell(e Event) {
	e.At = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told++
	for r := range f.readers {
		if len(r.events) >= r.limit {
			r.events = r.events[1:]
			r.dropped++
			f.dropped++
		}
		r.events = append(r.events, e)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}
