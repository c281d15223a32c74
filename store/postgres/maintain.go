package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// Maintain makes the partitions of the coming days, drops those that retention doesn't keep, makes the rollups of what was written
// since the last time, and forgets what is over: instances that have been silent for [store.InstanceMemory] while others
// of their service were seen, alerts that were resolved and uptime that ended before the time that retention keeps.
//
// Call it every minute if rollups are to be that fresh, else every hour or so; several processes may, also at the same time. It
// never holds writers up for longer than a tenth of a second. Its parts are independent: all are tried, and the error
// names those that failed. What is cut short goes on the next time.
func (db *DB) Maintain(ctx context.Context) error {
	if err := db.setClock(ctx); err != nil {
		return wrap("maintain", err)
	}
	now := db.clock.now()
	errs := []error{
		db.addPartitions(ctx),
		db.log.drop(ctx, db),
		db.rollups.drop(ctx, db),
		db.rollUp(ctx),
		db.forget(ctx, "silent instances", db.statements.forgetInstances, now.Add(-store.InstanceMemory)),
		db.maintainRequests(ctx),
	}
	if db.cfg.Retention > 0 {
		oldest := db.window().From
		errs = append(errs,
			db.forget(ctx, "alerts that are over", db.statements.forgetAlerts, oldest),
			db.forget(ctx, "uptime that is over", db.statements.forgetUptime, oldest))
	}
	return wrap("maintain", errors.Join(errs...))
}

func (db *DB) addPartitions(ctx context.Context) error {
	today := dayOf(db.clock.now())
	var days []day
	for d := today; d <= today+daysAhead; d++ {
		days = append(days, d)
	}
	return errors.Join(
		db.retry(ctx, func() error { return db.log.ensure(ctx, db, days) }),
		db.retry(ctx, func() error { return db.rollups.ensure(ctx, db, days) }),
	)
}

// forget deletes what is older than before.
func (db *DB) forget(ctx context.Context, what, statement string, before time.Time) error {
	err := db.retry(ctx, func() error {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		_, err = conn.Exec(ctx, statement, before)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget %s: %w", what, err)
	}
	return nil
}
