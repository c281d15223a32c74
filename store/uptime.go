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
