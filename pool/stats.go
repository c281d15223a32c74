package pool

// Stats are the connections of Standard, as of one moment, and what commands met when they wanted one.
type Stats struct {
	MaxConnections       int `json:"max_connections"`       // the limit
	CreatedConnections   int `json:"created_connections"`   // open now
	AvailableConnections int `json:"available_connections"` // open and idle
	InUseConnections     int `json:"in_use_connections"`    // open and at work

	Hits        uint32  `json:"hits"`         // a connection was there
	Misses      uint32  `json:"misses"`       // one had to be dialled
	Waits       uint32  `json:"waits"`        // all were in use, and one came free
	WaitSeconds float64 `json:"wait_seconds"` // spent in those waits
	Timeouts    uint32  `json:"timeouts"`     // none came free in time
	Stale       uint32  `json:"stale"`        // closed because they failed, had ended or were too old

	Blocking BlockingStats `json:"blocking"`

	Breaker []BreakerStats `json:"breaker"` // of each node that Standard talks to; empty if it is off
}

// BlockingStats are the connections of Blocking.
type BlockingStats struct {
	MaxConnections       int `json:"max_connections"`
	CreatedConnections   int `json:"created_connections"`
	AvailableConnections int `json:"available_connections"`
	InUseConnections     int `json:"in_use_connections"`
}

// Stats returns a snapshot, in a Cluster the sum over its nodes. It doesn't block. The counters of Standard are go-redis's: they start again at zero
// after 2³².
func (c *Clients) Stats() Stats {
	s := c.standard.PoolStats()
	created, idle := int(s.TotalConns), int(s.IdleConns)
	return Stats{
		MaxConnections:       c.perMaster() * c.masters,
		CreatedConnections:   created,
		AvailableConnections: min(idle, created),
		InUseConnections:     max(0, created-idle),
		Hits:                 s.Hits,
		Misses:               s.Misses,
		Waits:                s.WaitCount,
		WaitSeconds:          float64(s.WaitDurationNs) / 1e9,
		Timeouts:             s.Timeouts,
		Stale:                s.StaleConns,
		Blocking:             c.blocking.shelf.stats(),
		Breaker:              c.breakers.stats(),
	}
}
