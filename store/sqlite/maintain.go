package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// deleteChunk is how many messages one transaction deletes: writers wait for some milliseconds.
const deleteChunk = 1000

const deleteMessagesSQL = `
DELETE FROM health_messages WHERE (occurred_at, message_id) IN (
	SELECT occurred_at, message_id FROM health_messages
	WHERE occurred_at < ? ORDER BY occurred_at, message_id LIMIT ?)`

const forgetInstancesSQL = `
DELETE FROM instance_status AS s
WHERE last_seen < ? AND EXISTS (
	SELECT 1 FROM instance_status AS newer
	WHERE newer.service_name = s.service_name
		AND (newer.last_seen, newer.instance_id) > (s.last_seen, s.instance_id))`

const deleteRequestsSQL = `
DELETE FROM requests WHERE place IN (
	SELECT place FROM requests WHERE finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?)`

const deleteSamplesSQL = `
DELETE FROM queue_metrics WHERE (queue, sampled_at, worker, shard) IN (
	SELECT queue, sampled_at, worker, shard FROM queue_metrics WHERE sampled_at < ? ORDER BY sampled_at LIMIT ?)`

const forgetOwnersSQL = `DELETE FROM queue_owners WHERE expires_at < ?`

// Maintain deletes the messages, finished requests and queue metrics that retention doesn't keep, a thousand at a time, and
// forgets instances that have been silent for [store.InstanceMemory] while others of their service were seen. It makes the
// rollups of what was written since the last time, and forgets alerts and uptime that were over before the time that is
// kept. Call it every minute if rollups are to be that fresh, else every hour or so; several processes may, also at the
// same time. The file doesn't shrink: its free pages are used again.
func (db *DB) Maintain(ctx context.Context) error {
	if db.cfg.Retention > 0 {
		from := rules.WindowAt(time.Now(), db.cfg.Retention).From.UnixMicro()
		for _, statement := range []string{deleteMessagesSQL, deleteRequestsSQL, deleteSamplesSQL} {
			for deleted := int64(deleteChunk); deleted == deleteChunk; {
				var err error
				if deleted, err = db.exec(ctx, statement, from, deleteChunk); err != nil {
					return wrap(ctx, "maintain: delete what is old", err)
				}
			}
		}
	}
	if _, err := db.exec(ctx, forgetOwnersSQL, time.Now().Add(-30*24*time.Hour).UnixMicro()); err != nil {
		return wrap(ctx, "maintain: forget owners", err)
	}
	if _, err := db.exec(ctx, forgetInstancesSQL, time.Now().Add(-store.InstanceMemory).UnixMicro()); err != nil {
		return wrap(ctx, "maintain: forget silent instances", err)
	}
	return wrap(ctx, "maintain", db.maintainHealth(ctx))
}

// exec runs one statement in a transaction of its own and returns how many rows it changed.
func (db *DB) exec(ctx context.Context, statement string, args ...any) (changed int64, err error) {
	err = db.write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		changed, err = result.RowsAffected()
		return err
	})
	return changed, err
}
