package postgres

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// What one transaction carries at most: the parameters of a statement are held in memory here and on the server.
const (
	maxRows  = 50_000
	maxBytes = 64 << 20
)

// Record stores the messages that aren't stored yet, with their newest statuses and what they say of alerts, and returns how
// many that were. It blocks until they are committed. An empty batch does nothing.
//
// A batch of up to 50,000 messages and 64 MiB is one transaction; a larger one is stored in several, in the order of
// time. Batches of up to some 4,000 messages (2 MiB) that are recorded at the same time share transactions, two of which are under way
// at once: each call has its own number and its own error, and one that is cancelled returns at once, without harm to the others.
//
// The error is nil, or a [*store.RefusedError] if all but the messages it names are stored, or another one, after
// which recording the batch again is safe; [store.IsTransient] tells whether it makes sense.
func (db *DB) Record(ctx context.Context, msgs []store.Message) (int, error) {
	if len(msgs) == 0 {
		return 0, nil
	}
	window, err := db.windowFor(ctx, msgs)
	if err != nil {
		return 0, wrap("record", err)
	}
	admitted, refused := rules.Admit(msgs, window)
	db.refused.Add(int64(len(refused)))
	inserted, err := db.record(ctx, admitted)
	db.recorded.Add(int64(inserted))
	if err != nil {
		return inserted, wrap("record", err)
	}
	db.duplicates.Add(int64(len(msgs) - len(refused) - inserted))
	return inserted, rules.AsError(refused)
}

func (db *DB) record(ctx context.Context, msgs []*store.Message) (inserted int, err error) {
	if size := weight(msgs); 0 < size && size <= groupBytes/2 {
		return db.recording.Do(ctx, cloned(msgs))
	}
	for _, chunk := range rules.Chunks(msgs, maxRows, maxBytes) {
		fresh, err := db.insert(ctx, chunk)
		if err != nil {
			return inserted, err
		}
		inserted += count(fresh)
	}
	return inserted, nil
}

// windowFor is the window of now. Before it refuses anything it asks the server again for what it is made of.
func (db *DB) windowFor(ctx context.Context, msgs []store.Message) (rules.Window, error) {
	if w := db.window(); w.HoldsAll(msgs) {
		return w, nil
	}
	if err := db.setClock(ctx); err != nil {
		return rules.Window{}, err
	}
	if db.cfg.Retention < 0 {
		if err := db.log.list(ctx, db); err != nil {
			return rules.Window{}, err
		}
	}
	return db.window(), nil
}

// insert stores messages sorted by key in one transaction. It tells of each whether it is fresh: it wasn't stored before.
func (db *DB) insert(ctx context.Context, msgs []*store.Message) (fresh []bool, err error) {
	days := daysOf(msgs)
	parameters := sync.OnceValue(func() []any { return recordParameters(msgs) })
	err = db.retry(ctx, func() error {
		if err := db.log.ensure(ctx, db, days); err != nil {
			return err
		}
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		fresh, err = db.store(ctx, conn.Conn(), msgs, parameters)
		return err
	})
	return fresh, err
}

// store picks the way to the log.
func (db *DB) store(ctx context.Context, conn *pgx.Conn, msgs []*store.Message, parameters func() []any) ([]bool, error) {
	if len(msgs) >= copyRows {
		fresh, err := db.copyFresh(ctx, conn, msgs)
		if codeOf(err) != codeDuplicate {
			return fresh, err
		}
	}
	return db.merge(ctx, conn, msgs, parameters())
}

// merge stores those messages that aren't stored yet.
func (db *DB) merge(ctx context.Context, conn *pgx.Conn, msgs []*store.Message, parameters []any) (fresh []bool, err error) {
	if !anyAlerts(msgs) { // then the statement is a transaction of its own, in one round trip
		return readFresh(ctx, conn, db.statements.record, parameters, msgs)
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		fresh, err = readFresh(ctx, tx, db.statements.record, parameters, msgs)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		db.queueAlerts(batch, transitionsOf(msgs, fresh))
		return tx.SendBatch(ctx, batch).Close()
	})
	return fresh, err
}

// readFresh runs a statement that returns the keys of those messages that it inserted.
func readFresh(ctx context.Context, q querier, statement string, parameters []any, msgs []*store.Message) ([]bool, error) {
	type key struct {
		micro int64
		id    string
	}
	rows, err := q.Query(ctx, statement, parameters...)
	if err != nil {
		return nil, err
	}
	inserted := make([]key, 0, len(msgs))
	var at time.Time
	var id string
	_, err = pgx.ForEachRow(rows, []any{&at, &id}, func() error {
		inserted = append(inserted, key{at.UnixMicro(), id})
		return nil
	})
	if err != nil || len(inserted) == len(msgs) {
		return allTrue(len(inserted)), err
	}
	known := make(map[key]bool, len(inserted))
	for _, k := range inserted {
		known[k] = true
	}
	fresh := make([]bool, len(msgs))
	for i, m := range msgs {
		fresh[i] = known[key{m.At.UnixMicro(), m.ID}]
	}
	return fresh, nil
}

func daysOf(msgs []*store.Message) []day {
	var days []day
	for _, m := range msgs {
		if d := dayOf(m.At); len(days) == 0 || days[len(days)-1] != d {
			days = append(days, d)
		}
	}
	return days
}

// recordParameters turns messages into the parameters of recordSQL. Payloads go as strings: as bytes, the modes of pgx that
// don't ask the server for the types would send bytea. All of them are cut from one copy.
func recordParameters(msgs []*store.Message) []any {
	size := 0
	for _, m := range msgs {
		size += len(m.Payload)
	}
	var payloads strings.Builder
	payloads.Grow(size)
	newest := rules.Newest(msgs)
	return []any{
		column(msgs, at),
		column(msgs, id),
		column(msgs, func(m *store.Message) string { return m.Channel }),
		column(msgs, service),
		column(msgs, instance),
		column(msgs, sequence),
		column(msgs, status),
		column(msgs, func(m *store.Message) string {
			start := payloads.Len()
			payloads.Write(m.Payload)
			return payloads.String()[start:]
		}),
		column(newest, at),
		column(newest, id),
	}
}

func at(m *store.Message) time.Time    { return m.At }
func id(m *store.Message) string       { return m.ID }
func service(m *store.Message) string  { return m.Service }
func instance(m *store.Message) string { return m.Instance }
func sequence(m *store.Message) int64  { return m.Count }
func status(m *store.Message) string   { return m.Status }

func column[E, T any](all []E, value func(E) T) []T {
	values := make([]T, len(all))
	for i, e := range all {
		values[i] = value(e)
	}
	return values
}

func allTrue(n int) []bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = true
	}
	return all
}

func count(fresh []bool) (n int) {
	for _, f := range fresh {
		if f {
			n++
		}
	}
	return n
}
