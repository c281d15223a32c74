package postgres

import (
	"context"
	"sync"
	"time"
)

// clock tells the server's time without asking it: what it said once, plus the time that passed here since then on the
// monotonic clock. So one clock decides for all processes which messages are too old or of the future, and a process whose
// own clock is wrong refuses nothing that is right.
type clock struct {
	mu     sync.Mutex // guards both
	server time.Time
	asked  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.Add(time.Since(c.asked))
}

func (c *clock) set(server, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.asked = server, asked
}

// setClock asks the server for its time.
func (db *DB) setClock(ctx context.Context) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	asked := time.Now()
	var server time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&server); err != nil {
		return err
	}
	db.clock.set(server, asked)
	return nil
}
