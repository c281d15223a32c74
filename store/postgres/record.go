package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// What one statement carries at most: its parameters are held in memory here and on the server.
const (
	maxRows  = 50_000
	maxBytes = 64 << 20
)

// Record stores the messages that aren't stored yet, with their newest statuses, and returns how many that were.
// It blocks until they are committed. An empty batch does nothing.
//
// A batch of up to 50,000 messages and 64 MiB is one transaction; a larger one is stored in several, in the order of
// time. The error is nil, or a [*store.RefusedError] if all but the messages it names are stored, or another one, after
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
	inserted := 0
	for _, chunk := range rules.Chunks(admitted, maxRows, maxBytes) {
		n, err := db.insert(ctx, chunk)
		if err != nil {
			return inserted, wrap("record", err)
		}
		inserted += n
		db.recorded.Add(int64(n))
	}
	db.duplicates.Add(int64(len(msgs) - len(refused) - inserted))
	return inserted, rules.AsError(refused)
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
		if err := db.listPartitions(ctx); err != nil {
			return rules.Window{}, err
		}
	}
	return db.window(), nil
}

// insert stores messages sorted by key in one transaction.
func (db *DB) insert(ctx context.Context, msgs []*store.Message) (inserted int, err error) {
	days, parameters := daysOf(msgs), recordParameters(msgs)
	err = db.retry(ctx, func() error {
		if err := db.ensurePartitions(ctx, days); err != nil {
			return err
		}
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		return conn.QueryRow(ctx, db.statements.record, parameters...).Scan(&inserted)
	})
	return inserted, err
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
	at := func(m *store.Message) time.Time { return m.At }
	id := func(m *store.Message) string { return m.ID }
	newest := rules.Newest(msgs)
	return []any{
		column(msgs, at),
		column(msgs, id),
		column(msgs, func(m *store.Message) string { return m.Channel }),
		column(msgs, func(m *store.Message) string { return m.Service }),
		column(msgs, func(m *store.Message) string { return m.Instance }),
		column(msgs, func(m *store.Message) int64 { return m.Count }),
		column(msgs, func(m *store.Message) string { return m.Status }),
		column(msgs, func(m *store.Message) string {
			start := payloads.Len()
			payloads.Write(m.Payload)
			return payloads.String()[start:]
		}),
		column(newest, at),
		column(newest, id),
	}
}

func column[M, T any](rows []*M, value func(*M) T) []T {
	values := make([]T, len(rows))
	for i, r := range rows {
		values[i] = value(r)
	}
	return values
}
