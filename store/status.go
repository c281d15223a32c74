package store

import "time"

// ServiceStatus is the newest status of a service: that of its most recently seen instance.
type ServiceStatus struct {
	Service  string    `json:"service_name"`
	Status   string    `json:"current_status"`
	LastSeen time.Time `json:"last_seen"`

	// Instances are the most recently seen first; there is at least one.
	Instances []InstanceStatus `json:"instances"`
}

// InstanceStatus is the newest status of one instance.
type InstanceStatus struct {
	Instance string    `json:"instance_id"`
	Status   string    `json:"current_status"`
	LastSeen time.Time `json:"last_seen"`
	Count    int64     `json:"heartbeat_count"`
}

// InstanceMemory is how long a silent instance is listed beside newer ones of its service: maintenance forgets it
// after that. Monday morning still shows who fell silent on Friday, and the list of a service that crashes every
// minute stays finite. The newest instance of a service is never forgotten.
const InstanceMemory = 7 * 24 * time.Hour
