package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Messages returns a page of the audit log, newest first. It blocks until the page is read.
//
// A page of one service is found by its rollups, however much there is of others; of what Maintain has not rolled up yet,
// as much is read as the page takes. With an Instance the log is read backwards until the page is full: give the range that
// you need.
func (db *DB) Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error) {
	q, err := rules.Query(q)
	if err != nil {
		return store.MessagePage{}, err
	}
	var entries []store.Entry
	if q.Service != "" && q.Instance == "" {
		entries, err = db.serviceMessages(ctx, q)
	} else {
		entries, err = query(ctx, db, scanEntry, db.statements.messages,
			q.From, q.To, q.After.At, q.After.ID, q.Service, q.Instance, q.Limit+1)
	}
	if err != nil {
		return store.MessagePage{}, wrap("messages", err)
	}
	return rules.Page(entries, q.Limit), nil
}

// serviceMessages reads one service's messages: first in which minutes it has how many, by its rollups, and which minutes
// nobody has looked at yet; then of the log those minutes alone.
func (db *DB) serviceMessages(ctx context.Context, q store.MessageQuery) ([]store.Entry, error) {
	first, last := rules.MessageMinutes(q)
	minutes, err := query(ctx, db, scanMinute, db.in(minutesSQL), q.Service, first, last, q.Limit+2)
	if err != nil {
		return nil, err
	}
	return rules.ByMinutes(minutes, q.Limit+1, func(minutes []time.Time, limit int) ([]store.Entry, error) {
		from, to := minutes[len(minutes)-1], minutes[0].Add(time.Minute)
		if from.Before(q.From) {
			from = q.From
		}
		if to.After(q.To) {
			to = q.To
		}
		return query(ctx, db, scanEntry, db.in(serviceMessagesSQL), q.Service, from, to, q.After.At, q.After.ID, minutes, limit)
	})
}

const minutesSQL = `
WITH RECURSIVE pending (minute) AS (
	SELECT max(minute) FROM {schema}.rollup_pending WHERE minute BETWEEN $2 AND $3
	UNION ALL
	SELECT (SELECT max(p.minute) FROM {schema}.rollup_pending p WHERE p.minute < pending.minute AND p.minute >= $2)
	FROM pending WHERE pending.minute IS NOT NULL
)
SELECT minute, max(samples)::bigint FROM (
	(SELECT minute, samples
	FROM {schema}.health_rollups
	WHERE service_name = $1 AND metric = '' AND minute BETWEEN $2 AND $3
	ORDER BY minute DESC
	LIMIT $4)
	UNION ALL
	SELECT minute, 0 FROM pending WHERE minute IS NOT NULL
) m
GROUP BY minute
ORDER BY minute DESC`

// serviceMessagesSQL doesn't compare rows: the server would go through the index from the cursor on, and not from the end of the
// minute.
const serviceMessagesSQL = `
SELECT m.*
FROM unnest($6::timestamptz[]) AS minutes (minute) CROSS JOIN LATERAL (
	SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
	FROM {schema}.health_messages
	WHERE occurred_at >= minute AND occurred_at < minute + interval '1 minute' AND service_name = $1
		AND occurred_at >= $2 AND occurred_at < $3 AND occurred_at <= $4 AND (occurred_at < $4 OR message_id < $5)
	ORDER BY occurred_at DESC, message_id DESC
	LIMIT $7
) m
ORDER BY m.occurred_at DESC, m.message_id DESC
LIMIT $7`

func scanMinute(r pgx.CollectableRow) (m rules.Minute, err error) {
	return m, r.Scan(&m.At, &m.Messages)
}

// Services returns the newest status of every service with its instances, by name. It blocks until all are read.
func (db *DB) Services(ctx context.Context) ([]store.ServiceStatus, error) {
	rows, err := query(ctx, db, func(r pgx.CollectableRow) (i rules.Instance, err error) {
		err = r.Scan(&i.Service, &i.Instance, &i.Status, &i.LastSeen, &i.Count)
		i.LastSeen = i.LastSeen.UTC()
		return i, err
	}, db.statements.services)
	if err != nil {
		return nil, wrap("services", err)
	}
	return rules.Services(rows), nil
}

func scanEntry(r pgx.CollectableRow) (e store.Entry, err error) {
	var payload *string
	err = r.Scan(&e.At, &e.ID, &e.ReceivedAt, &e.Channel, &e.Service, &e.Instance, &e.Count, &e.Status, &payload)
	e.At, e.ReceivedAt = e.At.UTC(), e.ReceivedAt.UTC()
	if payload != nil {
		e.Payload = []byte(*payload)
	}
	return e, err
}

// in puts the name of the schema into a statement.
func (db *DB) in(statement string) string {
	return strings.ReplaceAll(statement, "{schema}", db.schema)
}

// query reads all rows of a statement.
func query[T any](ctx context.Context, db *DB, scan pgx.RowToFunc[T], statement string, args ...any) ([]T, error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// queryTogether runs statements in one round trip, once the server knows them.
func (db *DB) queryTogether(ctx context.Context, queue func(*pgx.Batch)) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	queue(batch)
	return conn.SendBatch(ctx, batch).Close()
}

// into reads the rows of one of the statements of a batch.
func into[T any](all *[]T, scan pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*all, err = pgx.CollectRows(rows, scan)
		return err
	}
}
