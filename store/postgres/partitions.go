package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	partitionPrefix = "health_messages_"
	daysAhead       = 3

	// Adding a partition blocks nobody, it waits for those that drop one.
	createLockTimeout = 5 * time.Second

	// Dropping one needs the whole log for a moment. While it waits, all writers wait behind it: so it waits shortly, and
	// tries again later.
	dropLockTimeout = 100 * time.Millisecond
)

// day is a UTC day, counted from 1970-01-01.
type day int64

func dayOf(t time.Time) day {
	seconds := t.Unix()
	days := seconds / 86400
	if seconds%86400 < 0 {
		days--
	}
	return day(days)
}

func (d day) start() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func (d day) partition() string { return partitionPrefix + d.start().Format("20060102") }

func parsePartition(table string) (day, bool) {
	date, named := strings.CutPrefix(table, partitionPrefix)
	t, err := time.Parse("20060102", date)
	return dayOf(t), named && err == nil
}

// partitions remembers which days have their partition. It may be behind: a partition that was dropped meanwhile is
// noticed by the insert that fails, one that was added is found by listing.
type partitions struct {
	mu    sync.Mutex // guards known
	known []day      // sorted
}

func (p *partitions) set(sorted []day) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = sorted
}

func (p *partitions) forget() { p.set(nil) }

func (p *partitions) hold(days []day) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range days {
		if _, found := slices.BinarySearch(p.known, d); !found {
			return false
		}
	}
	return true
}

// before returns those before d, oldest first.
func (p *partitions) before(d day) []day {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearch(p.known, d)
	return slices.Clone(p.known[:i])
}

// listPartitions brings what is known up to date.
func (db *DB) listPartitions(ctx context.Context) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	days, err := partitionsIn(ctx, conn, db.schema)
	if err != nil {
		return err
	}
	db.partitions.set(days)
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// partitionsIn returns the days that have a partition, in order. Tables that somebody else attached under other names
// are theirs to look after.
func partitionsIn(ctx context.Context, q querier, schema string) ([]day, error) {
	rows, err := q.Query(ctx, "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "+
		"WHERE i.inhparent = ($1::text || '.health_messages')::regclass", schema)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var days []day
	for _, table := range tables {
		if d, ok := parsePartition(table); ok {
			days = append(days, d)
		}
	}
	slices.Sort(days)
	return days, nil
}

// window is the range of times that Record accepts now.
func (db *DB) window() rules.Window {
	w := rules.WindowAt(db.clock.now(), db.cfg.Retention)
	if older := db.partitions.before(dayOf(w.From)); db.cfg.Retention < 0 && len(older) > 0 {
		w = w.Reaching(older[0].start())
	}
	return w
}

// ensurePartitions makes the partitions of days that have none.
func (db *DB) ensurePartitions(ctx context.Context, days []day) error {
	if db.partitions.hold(days) {
		return nil
	}
	if err := db.listPartitions(ctx); err != nil || db.partitions.hold(days) {
		return err
	}
	var added []string
	err := db.exclusively(ctx, createLockTimeout, func(tx pgx.Tx) error {
		existing, err := partitionsIn(ctx, tx, db.schema)
		if err != nil {
			return err
		}
		for _, d := range days {
			if slices.Contains(existing, d) {
				continue
			}
			if err := createPartition(ctx, tx, d); err != nil {
				return fmt.Errorf("add %s: %w", d.partition(), err)
			}
			added = append(added, d.partition())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(added) > 0 {
		db.cfg.Logger.InfoContext(ctx, "postgres: partitions added", "partitions", added)
	}
	return db.listPartitions(ctx)
}

// createPartition attaches a table made apart: unlike CREATE TABLE … PARTITION OF, that doesn't stop writers.
func createPartition(ctx context.Context, tx pgx.Tx, d day) error {
	name := pgx.Identifier{d.partition()}.Sanitize()
	const bound = "2006-01-02 15:04:05+00"
	_, err := tx.Exec(ctx, fmt.Sprintf(
		"CREATE TABLE %[1]s (LIKE health_messages INCLUDING ALL); "+
			"ALTER TABLE health_messages ATTACH PARTITION %[1]s FOR VALUES FROM ('%[2]s') TO ('%[3]s')",
		name, d.start().Format(bound), (d+1).start().Format(bound)))
	return err
}

// dropPartitions drops those whose days lie wholly before the time that retention keeps, each in a transaction of
// its own.
func (db *DB) dropPartitions(ctx context.Context) error {
	if db.cfg.Retention < 0 {
		return nil
	}
	if err := db.listPartitions(ctx); err != nil {
		return err
	}
	oldest := dayOf(db.window().From)
	var errs []error
	for _, d := range db.partitions.before(oldest) {
		err := db.retry(ctx, func() error {
			return db.exclusively(ctx, dropLockTimeout, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+pgx.Identifier{d.partition()}.Sanitize())
				return err
			})
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("drop %s: %w", d.partition(), err))
			continue
		}
		db.cfg.Logger.InfoContext(ctx, "postgres: partition dropped", "partition", d.partition())
	}
	return errors.Join(errs...)
}
