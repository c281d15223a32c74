package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const messagesSQL = `
SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
FROM health_messages
WHERE occurred_at >= ? AND occurred_at < ?
	AND (occurred_at, message_id) < (?, ?)
	AND (? = '' OR service_name = ?) AND (? = '' OR instance_id = ?)
ORDER BY occurred_at DESC, message_id DESC
LIMIT ?`

const servicesSQL = `
SELECT service_name, instance_id, current_status, last_seen, heartbeat_count
FROM instance_status
ORDER BY service_name, last_seen DESC, instance_id DESC`

// serviceMessagesSQL reads a page of one service's messages, without an index on the log by service, which would cost every
// write. The rollups tell in which minutes the service had how many: from the newest one on so many minutes are taken
// that the page is full, and of the log only those minutes are read. Minutes that aren't rolled up yet count as empty, as
// does the newest one, of which a part may be behind the cursor: too many minutes are no harm.
//
// ?1 is the service, ?2 and ?3 the range, ?4 and ?5 the cursor, ?6 how many messages, ?7 and ?8 the minutes of the range.
const serviceMessagesSQL = `
WITH minutes (minute, messages) AS (
	SELECT minute, max(samples) FROM (
		SELECT * FROM (
			SELECT minute, CASE WHEN minute < ?8 THEN samples ELSE 0 END AS samples
			FROM health_rollups
			WHERE service_name = ?1 AND metric = '' AND minute BETWEEN ?7 AND ?8
			ORDER BY minute DESC
			LIMIT ?6 + 1)
		UNION ALL
		SELECT minute, 0 FROM rollup_pending WHERE minute BETWEEN ?7 AND ?8
	)
	GROUP BY minute
), needed (minute) AS (
	SELECT minute FROM (SELECT minute, sum(messages) OVER (ORDER BY minute DESC) - messages AS newer FROM minutes)
	WHERE newer < ?6
)
SELECT occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload
FROM needed CROSS JOIN health_messages
WHERE occurred_at >= minute AND occurred_at < minute + 60000000 AND service_name = ?1
	AND occurred_at >= ?2 AND occurred_at < ?3 AND (occurred_at, message_id) < (?4, ?5)
ORDER BY occurred_at DESC, message_id DESC
LIMIT ?6`

// Messages returns a page of the audit log, newest first. It blocks until the page is read.
//
// A page of one service is found by the service's rollups, whatever else is in the log. With an Instance the log is read
// backwards until the page is full: give the range that you need.
func (db *DB) Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error) {
	q, err := rules.Query(q)
	if err != nil {
		return store.MessagePage{}, err
	}
	var entries []store.Entry
	if q.Service != "" && q.Instance == "" {
		entries, err = query(ctx, db, scanEntry, serviceMessagesSQL, serviceMessages(q)...)
	} else {
		entries, err = query(ctx, db, scanEntry, messagesSQL, q.From.UnixMicro(), q.To.UnixMicro(),
			q.After.At.UnixMicro(), q.After.ID, q.Service, q.Service, q.Instance, q.Instance, q.Limit+1)
	}
	if err != nil {
		return store.MessagePage{}, wrap(ctx, "messages", err)
	}
	return rules.Page(entries, q.Limit), nil
}

func serviceMessages(q store.MessageQuery) []any {
	last := q.To
	if q.After.At.Before(last) {
		last = q.After.At
	}
	return []any{
		q.Service, q.From.UnixMicro(), q.To.UnixMicro(), q.After.At.UnixMicro(), q.After.ID, q.Limit + 1,
		q.From.Truncate(time.Minute).UnixMicro(), last.Truncate(time.Minute).UnixMicro(),
	}
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
		defer rows.Close()
		all = nil
		for rows.Next() {
			one, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return rows.Err()
	})
	return all, err
}
