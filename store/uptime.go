package store

import "time"

// UptimeState is what is known of an instance during some time.
type UptimeState string

// The states of an instance. The time after StateStopped is not part of its uptime: it said goodbye.
const (
	StateUp      UptimeState = "up"
	StateDown    UptimeState = "down"
	StateUnknown UptimeState = "unknown" // nobody was looking, or who looked was blind
	StateStopped UptimeState = "stopped"
)

// UptimeChange says that an instance was in a state from At on, until the next change that is known of it.
//
// It is known by its service, instance and time: saying it again changes nothing. Of two at the same microsecond the
// worse one stays: down, stopped, unknown, up. A change may come late: it takes its place among the others.
type UptimeChange struct {
	Service  string      `json:"service_name"` // not empty
	Instance string      `json:"instance_id"`
	State    UptimeState `json:"state"`
	At       time.Time   `json:"at"`               // fixed with the change, never "now" at each attempt; kept to the microsecond
	Reason   string      `json:"reason,omitempty"` // for people; cut to [MaxAlertBytes]
}

// UptimeEpisode is a time during which an instance was in one state.
type UptimeEpisode struct {
	Service  string      `json:"service_name"`
	Instance string      `json:"instance_id"`
	State    UptimeState `json:"state"`
	From     time.Time   `json:"from"`
	To       time.Time   `json:"to,omitzero"` // zero: it still lasts
	Reason   string      `json:"reason,omitempty"`
}

// Uptime is how long something was in each state. The time before the first change of an instance and after its goodbye is in none.
type Uptime struct {
	Up      time.Duration `json:"up_ns"`
	Down    time.Duration `json:"down_ns"`
	Unknown time.Duration `json:"unknown_ns"`
}

// Percent is the share of the known time that was up, 0 to 100; known is false if nothing is known, and the percentage is 0 then.
func (u Uptime) Percent() (percent float64, known bool) {
	if u.Up+u.Down <= 0 {
		return 0, false
	}
	return 100 * u.Up.Seconds() / (u.Up + u.Down).Seconds(), true
}

// ServiceUptime is how long a service was up in a window. It was up while one of its instances was; down while none was
// and one was down; unknown while no more is known of any. So an instance that was replaced after it had died
// doesn't count against its service.
type ServiceUptime struct {
	Service string    `json:"service_name"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Uptime
	Instances []InstanceUptime `json:"instances"` // those that were there in the window, by name
}

// InstanceUptime is how long one instance was in each state.
type InstanceUptime struct {
	Instance string `json:"instance_id"`
	Uptime
	Stopped  time.Duration   `json:"stopped_ns"`
	Episodes []UptimeEpisode `json:"episodes"` // in the window, oldest first; the first and the last one are cut to it
}
