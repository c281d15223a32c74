package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Tables with one partition per UTC day, beside the log.
const (
	finishedTable = "finished_requests"
	metricsTable  = "queue_metrics"
)

func sampledAt(s *store.QueueSample) time.Time { return s.At }

// withToday makes the partition of today if that is what err complains of, so that the next try succeeds.
func (db *DB) withToday(ctx context.Context, table string, err error) error {
	if codeOf(err) != codeNoPartition {
		return err
	}
	if clockErr := db.setClock(ctx); clockErr != nil {
		return clockErr
	}
	return db.withDays(ctx, table, err, map[day]bool{dayOf(db.clock.now()): true})
}

// withDays makes the partitions of days if they are what err complains of, so that the next try succeeds.
func (db *DB) withDays(ctx context.Context, table string, err error, days map[day]bool) error {
	if codeOf(err) != codeNoPartition {
		return err
	}
	if addErr := db.addDays(ctx, table, slices.Sorted(maps.Keys(days))); addErr != nil {
		return addErr
	}
	return err
}

// addDays makes the partitions of days that have none.
func (db *DB) addDays(ctx context.Context, table string, days []day) error {
	return db.exclusively(ctx, createLockTimeout, func(tx pgx.Tx) error {
		existing, err := daysIn(ctx, tx, db.schema, table)
		if err != nil {
			return err
		}
		for _, d := range days {
			if slices.Contains(existing, d) {
				continue
			}
			const bound = "2006-01-02 15:04:05+00"
			_, err := tx.Exec(ctx, fmt.Sprintf( // made apart: unlike CREATE TABLE … PARTITION OF, that doesn't stop writers
				"CREATE TABLE %[2]s (LIKE %[1]s INCLUDING ALL); ALTER TABLE %[1]s ATTACH PARTITION %[2]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')",
				table, d.of(table), d.start().Format(bound), (d+1).start().Format(bound)))
			if err != nil {
				return fmt.Errorf("add %s: %w", d.of(table), err)
			}
		}
		return nil
	})
}

// of is the name of the day's partition of a table.
func (d day) of(table string) string { return table + "_" + d.start().Format("20060102") }

// daysIn returns the days that have a partition, in order. Tables that somebody else attached under other names are theirs
// to look after.
func daysIn(ctx context.Context, q querier, schema, table string) ([]day, error) {
	rows, err := q.Query(ctx, "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "+
		"WHERE i.inhparent = ($1::text || '.' || $2::text)::regclass", schema, table)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var days []day
	for _, name := range names {
		date, ours := strings.CutPrefix(name, table+"_")
		if t, err := time.Parse("20060102", date); ours && err == nil {
			days = append(days, dayOf(t))
		}
	}
	slices.Sort(days)
	return days, nil
}

// addRequestPartitions makes those of today and of the coming days.
func (db *DB) addRequestPartitions(ctx context.Context) error {
	var days []day
	for d := dayOf(db.clock.now()); len(days) <= daysAhead; d++ {
		days = append(days, d)
	}
	var errs []error
	for _, table := range []string{finishedTable, metricsTable} {
		errs = append(errs, db.retry(ctx, func() error { return db.addDays(ctx, table, days) }))
	}
	return errors.Join(errs...)
}

// maintainRequests is the part of Maintain that looks after requests and queue metrics.
func (db *DB) maintainRequests(ctx context.Context) error {
	errs := []error{db.addRequestPartitions(ctx), db.exec(ctx, db.requests.forgetOwners)}
	if db.cfg.Retention > 0 {
		oldest := dayOf(rules.WindowAt(db.clock.now(), db.cfg.Retention).From)
		errs = append(errs, db.dropDays(ctx, finishedTable, oldest), db.dropDays(ctx, metricsTable, oldest))
	}
	return errors.Join(errs...)
}

// dropDays drops the partitions before a day, each in a transaction of its own.
func (db *DB) dropDays(ctx context.Context, table string, oldest day) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	days, err := daysIn(ctx, conn, db.schema, table)
	conn.Release()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range days {
		if d >= oldest {
			break
		}
		err := db.retry(ctx, func() error {
			return db.exclusively(ctx, dropLockTimeout, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+d.of(table))
				return err
			})
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("drop %s: %w", d.of(table), err))
			continue
		}
		db.cfg.Logger.InfoContext(ctx, "postgres: partition dropped", "partition", d.of(table))
	}
	return errors.Join(errs...)
}
