package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/upbeat-go/upbeat/store"
)

// Maintain makes the partitions of the coming days, drops those that retention doesn't keep, and forgets instances that
// have been silent for [store.InstanceMemory] while others of their service were seen. Call it every hour or so;
// several processes may, also at the same time. It never holds writers up for longer than a tenth of a second. Its parts are
// independent: all are tried, and the error names those that failed.
func (db *DB) Maintain(ctx context.Context) error {
	if err := db.setClock(ctx); err != nil {
		return wrap("maintain", err)
	}
	return wrap("maintain", errors.Join(
		db.addPartitions(ctx),
		db.dropPartitions(ctx),
		db.forgetInstances(ctx),
		db.maintainRequests(ctx),
	))
}

func (db *DB) addPartitions(ctx context.Context) error {
	today := dayOf(db.clock.now())
	var days []day
	for d := today; d <= today+daysAhead; d++ {
		days = append(days, d)
	}
	return db.retry(ctx, func() error { return db.ensurePartitions(ctx, days) })
}

func (db *DB) forgetInstances(ctx context.Context) error {
	err := db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		_, err = conn.Exec(ctx, db.statements.forgetInstances, db.clock.now().Add(-store.InstanceMemory))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget silent instances: %w", err)
	}
	return nil
}
