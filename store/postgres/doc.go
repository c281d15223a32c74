// Package postgres is the store in a Postgres database, version 14 or newer. Package store says what every store
// guarantees; this is what this one adds.
//
// # What is there
//
// Migrate makes these in the schema of Config, all of them meant to be read with SQL as well:
//
//   - health_messages, the audit log, in one partition per UTC day, each row once by (occurred_at, message_id). Its payload
//     is text that is always JSON: payload::json->>'queue_size' never fails on a row.
//   - instance_status, the newest status of each instance, and the view service_status, that of each service.
//   - upbeat_migrations, what was applied.
//
// Record makes the partition of a late or early message when it comes; Maintain makes those of the coming days ahead of
// time and drops what retention doesn't keep. Nothing runs in the background: call Maintain from a ticker.
//
//	for hourly := time.Tick(time.Hour); ; {
//		if err := db.Maintain(ctx); err != nil {
//			slog.Warn("maintenance goes on next time", "error", err)
//		}
//		select {
//		case <-ctx.Done():
//			return
//		case <-hourly:
//		}
//	}
//
// # What it guarantees
//
// Record is one statement for the log and one for the statuses, in one transaction and one round trip, and commits as the
// server is told to by synchronous_commit. A lost reply, a failover, a kill of either side in the middle: the
// batch is there wholly or not at all, and recording it again is right. Writers that overlap don't deadlock, whatever
// the order of their batches; where somebody else's transaction deadlocks with one, it is repeated.
//
// Whether a message is too old or of the future is decided by the server's clock, one for all processes.
//
// Nothing depends on the state of a session: PgBouncer works in transaction mode. Maintain waits for no more than a tenth
// of a second at a time for the lock that drops a partition, as writers queue behind it.
//
// # What it does not guarantee
//
// A call lasts as long as its context lets it: only the wait for a connection has a timeout of its own. Give contexts a
// deadline where the network can swallow packets.
//
// The log has no index by service: Messages of one service reads, within From and To, over those of the others.
//
// # Concurrency and shutdown
//
// A DB is safe for concurrent use. Close waits for calls in progress and closes the connections; end the calls first.
package postgres
