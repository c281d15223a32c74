package heartbeat

import (
	"fmt"
	"slices"
	"time"
)

// State is the verdict on an instance.
type State uint8

// The states of an instance. A verdict of Stuck or Stopped rests on what the sender said, the others on when it
// was last heard.
const (
	Unknown State = iota // nothing can be said
	Alive                // heard in time
	Stale                // late: a beat or two may have been lost
	Dead                 // not heard for so long that it must be taken for gone
	Stuck                // heard in time, and says that its work makes no progress
	Stopped              // said goodbye
)

var stateNames = [...]string{"unknown", "alive", "stale", "dead", "stuck", "stopped"}

// String returns the state in lower case, such as "alive".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns what String does, so that a State is a word in JSON.
func (s State) MarshalText() ([]byte, error) {
	return []byte(s.String()), nil
}

// UnmarshalText takes what MarshalText returns for the states above and fails on anything else.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("heartbeat: %q is no state: want one of %q", oneLine(string(text), maxNameBytes), stateNames)
	}
	*s = State(i)
	return nil
}

// Thresholds say how old the newest beat of an instance may be: under Stale it is alive, under Dead it is stale,
// then it is dead. The zero value stands for 90 and 180 seconds.
type Thresholds struct {
	// Stale and Dead are meant for a sender that beats every 60 seconds; see [Thresholds.For] for others.
	// Stale is more than 60s and less than Dead; Dead is at most 24h.
	Stale, Dead time.Duration
}

func (t Thresholds) orDefault() Thresholds {
	return Thresholds{Stale: orDefault(t.Stale, 90*time.Second), Dead: orDefault(t.Dead, 180*time.Second)}
}

// For returns the thresholds for a sender that beats at the given interval and last started its beat so much later
// than planned: scaled by interval/60s, and widened by the lateness, of which no more than one interval counts, for
// no sender may talk itself out of dying. An interval of 0, not said, is taken for 60s.
func (t Thresholds) For(interval, late time.Duration) Thresholds {
	t = t.orDefault()
	if interval <= 0 {
		interval = baseInterval
	}
	late = min(max(late, 0), interval)
	scaled := func(d time.Duration) time.Duration {
		return time.Duration(float64(d)*(float64(interval)/float64(baseInterval))) + late
	}
	return Thresholds{Stale: scaled(t.Stale), Dead: scaled(t.Dead)}
}

// Judge returns Alive, Stale or Dead for an instance last heard age ago. It looks at nothing else.
func (t Thresholds) Judge(age time.Duration) State {
	switch t = t.orDefault(); {
	case age < t.Stale:
		return Alive
	case age < t.Dead:
		return Stale
	default:
		return Dead
	}
}
