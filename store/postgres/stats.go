package postgres

import "time"

// Stats are the figures of a DB since Open, and of its connections now.
type Stats struct {
	PoolSize       int     `json:"pool_size"`       // connections for ordinary times
	MaxConnections int     `json:"max_connections"` // for bursts
	CheckedOut     int     `json:"checked_out"`     // in use
	CheckedIn      int     `json:"checked_in"`      // open and idle
	Overflow       int     `json:"overflow"`        // open beyond PoolSize
	Utilisation    float64 `json:"utilisation"`     // CheckedOut of MaxConnections, 0 to 1
	Waits          int64   `json:"waits"`           // times that a connection had to be waited for
	Waiting        int     `json:"waiting"`         // calls that wait for a connection now

	LongestWait time.Duration `json:"longest_wait_ns"` // how long the first of them has waited

	Recorded   int64 `json:"recorded"`   // messages stored
	Duplicates int64 `json:"duplicates"` // messages that were stored already
	Refused    int64 `json:"refused"`    // messages that can't be stored
	Retries    int64 `json:"retries"`    // after a deadlock, a lock timeout or the like
	Accepted   int64 `json:"accepted"`   // requests newly stored
	Superseded int64 `json:"superseded"` // transitions of requests that their owner had lost, or had finished otherwise
}

// Stats returns a snapshot. It doesn't block and asks no server.
func (db *DB) Stats() Stats {
	s := db.pool.Stat()
	waiting, longest := db.waiting.state()
	return Stats{
		PoolSize:       db.cfg.PoolSize,
		MaxConnections: db.cfg.MaxConnections,
		CheckedOut:     int(s.AcquiredConns()),
		CheckedIn:      int(s.IdleConns()),
		Overflow:       max(0, int(s.TotalConns())-db.cfg.PoolSize),
		Utilisation:    float64(s.AcquiredConns()) / float64(db.cfg.MaxConnections),
		Waits:          s.EmptyAcquireCount(),
		Waiting:        waiting,
		LongestWait:    longest,
		Recorded:       db.recorded.Load(),
		Duplicates:     db.duplicates.Load(),
		Refused:        db.refused.Load(),
		Retries:        db.retries.Load(),
		Accepted:       db.accepted.Load(),
		Superseded:     db.superseded.Load(),
	}
}
