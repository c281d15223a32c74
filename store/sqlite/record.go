package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const insertSQL = `
INSERT INTO health_messages
	(occurred_at, message_id, received_at, channel, service_name, instance_id, heartbeat_count, status, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''))
ON CONFLICT DO NOTHING`

const statusSQL = `
INSERT INTO instance_status AS s
	(service_name, instance_id, current_status, last_seen, heartbeat_count, message_id)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (service_name, instance_id) DO UPDATE SET
	current_status = excluded.current_status,
	last_seen = excluded.last_seen,
	heartbeat_count = excluded.heartbeat_count,
	message_id = excluded.message_id
WHERE (excluded.heartbeat_count, excluded.last_seen, excluded.message_id)
	> (s.heartbeat_count, s.last_seen, s.message_id)`

// Record stores the messages that aren't stored yet, with their newest statuses and what they say about alerts, in one
// transaction, and returns how many that were. It blocks until they are on disk. An empty batch does nothing.
//
// The error is nil, or a [*store.RefusedError] if all but the messages it names are stored, or another one, after which
// recording the batch again is safe; [store.IsTransient] tells whether it makes sense.
func (db *DB) Record(ctx context.Context, msgs []store.Message) (int, error) {
	if len(msgs) == 0 {
		return 0, nil
	}
	window, err := db.windowFor(ctx, msgs)
	if err != nil {
		return 0, wrap(ctx, "record", err)
	}
	admitted, refused := rules.Admit(msgs, window)
	inserted := 0
	err = db.write(ctx, func(tx *sql.Tx) error {
		added, err := insert(ctx, tx, admitted)
		if err != nil {
			return err
		}
		inserted = len(added)
		if err := updateStatuses(ctx, tx, rules.Newest(added)); err != nil {
			return err
		}
		if err := addPending(ctx, tx, added); err != nil {
			return err
		}
		return changeAlerts(ctx, tx, added)
	})
	if err != nil {
		return 0, wrap(ctx, "record", err)
	}
	return inserted, rules.AsError(refused)
}

func (db *DB) windowFor(ctx context.Context, msgs []store.Message) (rules.Window, error) {
	w := rules.WindowAt(time.Now(), db.cfg.Retention)
	if db.cfg.Retention > 0 || w.HoldsAll(msgs) {
		return w, nil
	}
	var oldest sql.NullInt64
	if err := db.reader.QueryRowContext(ctx, "SELECT min(occurred_at) FROM health_messages").Scan(&oldest); err != nil {
		return w, err
	}
	if oldest.Valid {
		w = w.Reaching(time.UnixMicro(oldest.Int64))
	}
	return w, nil
}

// insert returns the messages that were not stored before.
func insert(ctx context.Context, tx *sql.Tx, msgs []*store.Message) ([]*store.Message, error) {
	statement, err := tx.PrepareContext(ctx, insertSQL)
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	var added []*store.Message
	now := time.Now().UnixMicro()
	for _, m := range msgs {
		result, err := statement.ExecContext(ctx, m.At.UnixMicro(), m.ID, now, m.Channel, m.Service, m.Instance, m.Count, m.Status, string(m.Payload))
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			added = append(added, m)
		}
	}
	return added, nil
}

func updateStatuses(ctx context.Context, tx *sql.Tx, newest []*store.Message) error {
	if len(newest) == 0 {
		return nil
	}
	statement, err := tx.PrepareContext(ctx, statusSQL)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, m := range newest {
		if _, err := statement.ExecContext(ctx, m.Service, m.Instance, m.Status, m.At.UnixMicro(), m.Count, m.ID); err != nil {
			return err
		}
	}
	return nil
}
