package postgres

// Stats are the figures of a DB since Open, and of its connections now.
type Stats struct {
	PoolSize       int     `json:"pool_size"`       // connections for ordinary times
	MaxConnections int     `json:"max_connections"` // for bursts
	CheckedOut     int     `json:"checked_out"`     // in use
	CheckedIn      int     `json:"checked_in"`      // open and idle
	Overflow       int     `json:"overflow"`        // open beyond PoolSize
	Utilisation    float64 `json:"utilisation"`     // CheckedOut of MaxConnections, 0 to 1
	Waits          int64   `json:"waits"`           // times that a connection had to be waited for

	Recorded   int64 `json:"recorded"`   // messages stored
	Duplicates int64 `json:"duplicates"` // messages that were stored already
	Refused    int64 `json:"refused"`    // messages that can't be stored
	Retries    int64 `json:"retries"`    // after a deadlock, a lock timeout or the like
}

// Stats returns a snapshot. It doesn't block and asks no server.
func (db *DB) Stats() Stats {
	s := db.pool.Stat()
	return Stats{
		PoolSize:       db.cfg.PoolSize,
		MaxConnections: db.cfg.MaxConnections,
		CheckedOut:     int(s.AcquiredConns()),
		CheckedIn:      int(s.IdleConns()),
		Overflow:       max(0, int(s.TotalConns())-db.cfg.PoolSize),
		Utilisation:    float64(s.AcquiredConns()) / float64(db.cfg.MaxConnections),
		Waits:          s.EmptyAcquireCount(),
		Recorded:       db.recorded.Load(),
		Duplicates:     db.duplicates.Load(),
		Refused:        db.refused.Load(),
		Retries:        db.retries.Load(),
	}
}
