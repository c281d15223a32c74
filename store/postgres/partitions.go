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
	daysAhead = 3

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

// partitions remembers which days of a table have their partition. It may be behind: a partition that was dropped meanwhile
// is noticed by the insert that fails, one that was added is found by listing.
type partitions struct {
	table  string
	column string // the time that decides where a row is

	mu    sync.Mutex // guards all below
	hyper bool       // TimescaleDB makes the partitions
	known []day      // sorted
}

// name is that of the partition of a day.
func (p *partitions) name(d day) string { return p.table + "_" + d.start().Format("20060102") }

func (p *partitions) parse(table string) (day, bool) {
	date, named := strings.CutPrefix(table, p.table+"_")
	t, err := time.Parse("20060102", date)
	return dayOf(t), named && err == nil
}

func (p *partitions) set(hyper bool, sorted []day) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hyper, p.known = hyper, sorted
}

func (p *partitions) forget() { p.set(false, nil) }

func (p *partitions) areHyper() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hyper
}

func (p *partitions) hold(days []day) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hyper {
		return true
	}
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

// list brings what is known up to date.
func (p *partitions) list(ctx context.Context, db *DB) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	hyper, days, err := p.read(ctx, conn, db.schema)
	if err != nil {
		return err
	}
	p.set(hyper, days)
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// read returns the days that have a partition, in order. Tables that somebody else attached under other names are theirs to look
// after. Of a hypertable it is the day of the oldest row.
func (p *partitions) read(ctx context.Context, q querier, schema string) (hyper bool, days []day, err error) {
	rows, err := q.Query(ctx, "SELECT t.relkind <> 'p', coalesce(c.relname::text, '') FROM pg_class t "+
		"LEFT JOIN pg_inherits i ON i.inhparent = t.oid LEFT JOIN pg_class c ON c.oid = i.inhrelid "+
		"WHERE t.oid = ($1::text || '.' || $2::text)::regclass", schema, p.table)
	if err != nil {
		return false, nil, err
	}
	var child string
	_, err = pgx.ForEachRow(rows, []any{&hyper, &child}, func() error {
		if d, ok := p.parse(child); ok {
			days = append(days, d)
		}
		return nil
	})
	if err != nil || !hyper {
		slices.Sort(days)
		return hyper, days, err
	}
	rows, err = q.Query(ctx, fmt.Sprintf("SELECT %[1]s FROM %[2]s.%[3]s ORDER BY %[1]s LIMIT 1", p.column, schema, p.table))
	if err != nil {
		return hyper, nil, err
	}
	oldest, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	return hyper, column(oldest, dayOf), err
}

// window is the range of times that Record accepts now.
func (db *DB) window() rules.Window {
	w := rules.WindowAt(db.clock.now(), db.cfg.Retention)
	if older := db.log.before(dayOf(w.From)); db.cfg.Retention < 0 && len(older) > 0 {
		w = w.Reaching(older[0].start())
	}
	return w
}

// ensure makes the partitions of days that have none.
func (p *partitions) ensure(ctx context.Context, db *DB, days []day) error {
	if p.hold(days) {
		return nil
	}
	if err := p.list(ctx, db); err != nil || p.hold(days) {
		return err
	}
	var added []string
	err := db.exclusively(ctx, createLockTimeout, func(tx pgx.Tx) error {
		hyper, existing, err := p.read(ctx, tx, db.schema)
		if err != nil || hyper {
			return err
		}
		for _, d := range days {
			if slices.Contains(existing, d) {
				continue
			}
			if err := p.create(ctx, tx, d); err != nil {
				return fmt.Errorf("add %s: %w", p.name(d), err)
			}
			added = append(added, p.name(d))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(added) > 0 {
		db.cfg.Logger.InfoContext(ctx, "postgres: partitions added", "partitions", added)
	}
	return p.list(ctx, db)
}

// create attaches a table made apart: unlike CREATE TABLE … PARTITION OF, that doesn't stop writers.
func (p *partitions) create(ctx context.Context, tx pgx.Tx, d day) error {
	const bound = "2006-01-02 15:04:05+00"
	_, err := tx.Exec(ctx, fmt.Sprintf(
		"CREATE TABLE %[1]s (LIKE %[2]s INCLUDING ALL); "+
			"ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')",
		pgx.Identifier{p.name(d)}.Sanitize(), p.table, d.start().Format(bound), (d+1).start().Format(bound)))
	return err
}

// drop drops those whose days lie wholly before the time that retention keeps, each in a transaction of its own.
func (p *partitions) drop(ctx context.Context, db *DB) error {
	if db.cfg.Retention < 0 {
		return nil
	}
	if err := p.list(ctx, db); err != nil {
		return err
	}
	oldest := dayOf(db.window().From)
	if p.areHyper() {
		return p.dropChunks(ctx, db, oldest)
	}
	var errs []error
	for _, d := range p.before(oldest) {
		err := db.retry(ctx, func() error {
			return db.exclusively(ctx, dropLockTimeout, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+pgx.Identifier{p.name(d)}.Sanitize())
				return err
			})
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("drop %s: %w", p.name(d), err))
			continue
		}
		db.cfg.Logger.InfoContext(ctx, "postgres: partition dropped", "partition", p.name(d))
	}
	return errors.Join(errs...)
}
