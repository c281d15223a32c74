package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// partitioned is a table, beside the log, in partitions of so many UTC days. Each is named after the first of its days.
type partitioned struct {
	name string
	days int64
}

var (
	// Weeks: a new request's ID is looked for in each partition, and 30 of them would cost more than all else.
	finishedTable = partitioned{"finished_requests", 7}
	metricsTable  = partitioned{"queue_metrics", 1}
)

// firstOf is the first day of the partition that holds d. Weeks begin on a Monday.
func (p partitioned) firstOf(d day) day {
	const monday = 4 // 1970-01-05
	return d - day(((int64(d)-monday)%p.days+p.days)%p.days)
}

// of is the name of the partition that begins with a day.
func (p partitioned) of(first day) string { return p.name + "_" + first.start().Format("20060102") }

// in returns the first days of all partitions, in order. Tables that somebody else attached under other names are theirs to
// look after.
func (p partitioned) in(ctx context.Context, q querier, schema string) ([]day, error) {
	rows, err := q.Query(ctx, "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "+
		"WHERE i.inhparent = ($1::text || '.' || $2::text)::regclass", schema, p.name)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var days []day
	for _, name := range names {
		date, ours := strings.CutPrefix(name, p.name+"_")
		if t, err := time.Parse("20060102", date); ours && err == nil {
			days = append(days, dayOf(t))
		}
	}
	slices.Sort(days)
	return days, nil
}

// withToday is withDays for the server's today.
func (db *DB) withToday(ctx context.Context, p partitioned, err error) error {
	if codeOf(err) != codeNoPartition {
		return err
	}
	if clockErr := db.setClock(ctx); clockErr != nil {
		return clockErr
	}
	return db.withDays(ctx, p, err, dayOf(db.clock.now()))
}

// withDays makes the partitions of days if they are what err complains of, so that the next try succeeds.
func (db *DB) withDays(ctx context.Context, p partitioned, err error, days ...day) error {
	if codeOf(err) != codeNoPartition {
		return err
	}
	if addErr := db.addDays(ctx, p, days); addErr != nil {
		return addErr
	}
	return err
}

// addDays makes the partitions of days that have none.
func (db *DB) addDays(ctx context.Context, p partitioned, days []day) error {
	return db.exclusively(ctx, createLockTimeout, func(tx pgx.Tx) error {
		existing, err := p.in(ctx, tx, db.schema)
		if err != nil {
			return err
		}
		for _, d := range days {
			first := p.firstOf(d)
			if slices.Contains(existing, first) {
				continue
			}
			existing = append(existing, first)
			const bound = "2006-01-02 15:04:05+00"
			_, err := tx.Exec(ctx, fmt.Sprintf( // made apart: unlike CREATE TABLE … PARTITION OF, that doesn't stop writers
				"CREATE TABLE %[2]s (LIKE %[1]s INCLUDING ALL); ALTER TABLE %[1]s ATTACH PARTITION %[2]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')",
				p.name, p.of(first), first.start().Format(bound), (first+day(p.days)).start().Format(bound)))
			if err != nil {
				return fmt.Errorf("add %s: %w", p.of(first), err)
			}
		}
		return nil
	})
}

// addRequestPartitions makes those of today and of the coming days.
func (db *DB) addRequestPartitions(ctx context.Context) error {
	var days []day
	for d := dayOf(db.clock.now()); len(days) <= daysAhead; d++ {
		days = append(days, d)
	}
	return errors.Join(
		db.retry(ctx, func() error { return db.addDays(ctx, finishedTable, days) }),
		db.retry(ctx, func() error { return db.addDays(ctx, metricsTable, days) }),
	)
}

// maintainRequests is the part of Maintain that looks after requests and queue metrics.
func (db *DB) maintainRequests(ctx context.Context) error {
	errs := []error{db.addRequestPartitions(ctx), db.exec(ctx, db.requests.forgetOwners)}
	if db.cfg.Retention > 0 {
		oldest := dayOf(rules.WindowAt(db.clock.now(), db.cfg.Retention).From)
		errs = append(errs, db.dropBefore(ctx, finishedTable, oldest), db.dropBefore(ctx, metricsTable, oldest))
	}
	return errors.Join(errs...)
}

// dropBefore drops the partitions that lie wholly before a day, each in a transaction of its own.
func (db *DB) dropBefore(ctx context.Context, p partitioned, oldest day) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	days, err := p.in(ctx, conn, db.schema)
	conn.Release()
	if err != nil {
		return err
	}
	var errs []error
	for _, first := range days {
		if first+day(p.days) > oldest {
			break
		}
		err := db.retry(ctx, func() error {
			return db.exclusively(ctx, dropLockTimeout, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+p.of(first))
				return err
			})
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("drop %s: %w", p.of(first), err))
			continue
		}
		db.cfg.Logger.InfoContext(ctx, "postgres: partition dropped", "partition", p.of(first))
	}
	return errors.Join(errs...)
}
