package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// Pages begin at their cursor, which lies before To: with both in a statement SQLite would search by To alone, and read again what
// all the pages before have given.

const messagesSQL = `
SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
FROM health_messages
WHERE occurred_at >= ? AND (occurred_at, message_id) < (?, ?)
	AND (? = '' OR service_name = ?) AND (? = '' OR instance_id = ?)
ORDER BY occurred_at DESC, message_id DESC
LIMIT ?`

const servicesSQL = `
SELECT service_name, instance_id, current_status, last_seen, heartbeat_count
FROM instance_status
ORDER BY service_name, last_seen DESC, instance_id DESC`

const minutesSQL = `
SELECT minute, max(samples) FROM (
	SELECT * FROM (
		SELECT minute, samples
		FROM health_rollups
		WHERE service_name = ?1 AND metric = '' AND minute BETWEEN ?2 AND ?3
		ORDER BY minute DESC
		LIMIT ?4)
	UNION ALL
	SELECT minute, 0 FROM rollup_pending WHERE minute BETWEEN ?2 AND ?3
)
GROUP BY minute
ORDER BY minute DESC`

const serviceMessagesSQL = `
SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
FROM health_messages
WHERE occurred_at >= ?6 AND occurred_at < ?6 + 60000000 AND service_name = ?1
	AND occurred_at >= ?2 AND occurred_at < ?3 AND occurred_at <= ?4 AND (occurred_at < ?4 OR message_id < ?5)
ORDER BY occurred_at DESC, message_id DESC
LIMIT ?7`

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
		entries, err = query(ctx, db, scanEntry, messagesSQL, q.From.UnixMicro(),
			q.After.At.UnixMicro(), q.After.ID, q.Service, q.Service, q.Instance, q.Instance, q.Limit+1)
	}
	if err != nil {
		return store.MessagePage{}, wrap(ctx, "messages", err)
	}
	return rules.Page(entries, q.Limit), nil
}

// serviceMessages reads one service's messages: first in which minutes it has how many, by its rollups, and which minutes
// nobody has looked at yet; then of the log those minutes alone.
func (db *DB) serviceMessages(ctx context.Context, q store.MessageQuery) ([]store.Entry, error) {
	first, last := rules.MessageMinutes(q)
	minutes, err := query(ctx, db, func(rows *sql.Rows) (m rules.Minute, err error) {
		var at int64
		err = rows.Scan(&at, &m.Messages)
		m.At = time.UnixMicro(at)
		return m, err
	}, minutesSQL, q.Service, first.UnixMicro(), last.UnixMicro(), q.Limit+2)
	if err != nil {
		return nil, err
	}
	return rules.ByMinutes(minutes, q.Limit+1, func(minutes []time.Time, limit int) (all []store.Entry, err error) {
		for i := 0; i < len(minutes) && len(all) < limit; i++ {
			some, err := query(ctx, db, scanEntry, serviceMessagesSQL, q.Service, q.From.UnixMicro(), q.To.UnixMicro(),
				q.After.At.UnixMicro(), q.After.ID, minutes[i].UnixMicro(), limit-len(all))
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	})
}

// Services returns the newest status of every service with its instances, by name. It blocks until all are read.
func (db *DB) Services(ctx context.Context) ([]store.ServiceStatus, error) {
	rows, err := query(ctx, db, func(rows *sql.Rows) (i rules.Instance, err error) {
		var lastSeen int64
		err = rows.Scan(&i.Service, &i.Instance, &i.Status, &lastSeen, &i.Count)
		i.LastSeen = time.UnixMicro(lastSeen).UTC()
		return i, err
	}, servicesSQL)
	if err != nil {
		return nil, wrap(ctx, "services", err)
	}
	return rules.Services(rows), nil
}

func scanEntry(rows *sql.Rows) (e store.Entry, err error) {
	var at, receivedAt int64
	var payload sql.NullString
	err = rows.Scan(&at, &e.ID, &receivedAt, &e.Channel, &e.Service, &e.Instance, &e.Count, &e.Status, &payload)
	e.At, e.ReceivedAt = time.UnixMicro(at).UTC(), time.UnixMicro(receivedAt).UTC()
	if payload.Valid {
		e.Payload = []byte(payload.String)
	}
	return e, err
}

// query reads all rows of a statement.
func query[T any](ctx context.Context, db *DB, scan func(*sql.Rows) (T, error), statement string, args ...any) (all []T, err error) {
	err = retry(ctx, func() error {
		rows, err := db.reader.QueryContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		all, err = collect(rows, scan)
		return err
	})
	return all, err
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) (all []T, err error) {
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
