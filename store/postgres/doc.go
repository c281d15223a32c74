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
//   - health_alerts, a row per episode of an alert, open while resolved_at is null. Skip rows with raise_count = 0: each is a
//     resolution whose raise is still under way.
//   - uptime_changes, what RecordUptime was told, and the view uptime_episodes, what that makes.
//   - health_rollups, the log by service, metric and minute, in one partition per UTC day; metric ” counts the messages. Their
//     histograms are for [store.Rollup]. rollup_pending says which minutes Maintain has to do.
//   - requests, a view of all requests of queues: open_requests are those that are not finished, finished_requests the others, in one
//     partition per week. queue_owners are the leases of those who run a queue.
//   - queue_metrics, how each shard of a queue stood, in one partition per UTC day.
//   - upbeat_migrations, what was applied.
//
// Where TimescaleDB is there at the first Migrate, the log and the rollups are hypertables instead; that stays as it is then. Of
// TimescaleDB only what its Apache edition has is used: Maintain drops chunks itself, and there are no policies.
//
// Record makes the partition of a late or early message when it comes; Maintain makes those of the coming days ahead of
// time, drops what retention doesn't keep, and makes the rollups. Nothing runs in the background: call Maintain from a ticker.
//
//	for minutely := time.Tick(time.Minute); ; {
//		if err := db.Maintain(ctx); err != nil {
//			slog.Warn("maintenance goes on next time", "error", err)
//		}
//		select {
//		case <-ctx.Done():
//			return
//		case <-minutely:
//		}
//	}
//
// # What it guarantees
//
// Record is one transaction for the log, the statuses, the alerts and what the rollups need, and commits as the
// server is told to by synchronous_commit. A lost reply, a failover, a kill of either side in the middle: the
// batch is there wholly or not at all, and recording it again is right. Writers that overlap don't deadlock, whatever
// the order of their batches; where somebody else's transaction deadlocks with one, it is repeated.
//
// Batches of 100 messages and more are copied straight into the log, which takes two round trips. COPY fails at a
// message that is stored already: so the first batch of a replay costs one transaction in vain, and the server's log then
// has a line about a duplicate key. From then on the server is asked first what it has, until several batches in
// a row held nothing of it. Smaller batches are one statement each.
//
// Batches that are recorded at the same time share transactions, of which two are under way at once: it takes a batch of more than
// 2 MiB to be in one of its own. Writers side by side would be slower, as each keeps the others' old statuses from being cleaned up: with
// eight of them, by half.
//
// An alert has at most one open episode, whoever writes. Whether it is open follows the newest of what was said about it,
// in whatever order that arrives; a replay counts nothing twice.
//
// Rollups come to the same however often, in whatever order and from how many processes they are made: a minute is always made
// anew from the log, and is done again when something is added to it.
//
// Requests of calls that share a commit are copied, too, if there are eight or more, under the same caution.
//
// A request is in open_requests or in finished_requests, never in both, and moves in one transaction: its ID is unique in its queue for
// as long as the row is kept. Accept returns when the commit is durable; calls that come while one is under way share the next. Whoever
// doesn't own a request can't change it, and an outcome is written once. What an owner has left is handed over when its lease has
// run out by the server's clock, to one owner alone.
//
// A plan that reads a whole table is never used for requests, however empty the tables were when it was made.
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
// A lease is no lock: an owner that was held up may run a request that another has taken over, until it is told so. What it says of the
// outcome then has no effect.
//
// Finished requests are forgotten by whole weeks, so up to a week later than Config.Retention says.
//
// The log has no index by service, which would cost every write. The messages of one service, also on its Timeline, are found by
// its rollups, minute by minute: a page reads what all services sent in those minutes, and in those that Maintain hasn't
// rolled up yet. So a service that fell silent last week is found at once, if Maintain runs. Messages of one Instance are read,
// within From and To, over those of the others.
//
// Metric and the throughput of Dashboard are as new as the last Maintain, and say up to when they are complete. Quantiles
// come from histograms and are right to within 4 %.
//
// # Rights
//
// The role that migrates and maintains owns the tables: it makes and drops partitions. Another one may record, accept and ask with
// SELECT, INSERT, UPDATE and DELETE on all tables of the schema, and USAGE on it. What needs a partition that isn't there then fails
// with an error that names it, which is transient: let the owner call Maintain in time.
//
// A role's statement_timeout and lock_timeout hold for all but Migrate and what makes and drops partitions. A server that only reads
// answers all questions.
//
// # Speed
//
// As ratios within one run, on two cores that client and server share and with synchronous commits; measure your own machine with
// make bench BENCH=Store, and requests with go test -run '^$' -bench 'Accept|Insert' ./store/postgres.
//
//   - Record in batches of 5,000 from two writers, statuses and all, writes 0.7 to 1.3 times what COPY by pgx's CopyFrom writes to the same
//     table, and 1.7 to 2.5 times what an unnest statement writes to a log keyed by (message_id, time) with an index by service. With ten
//     million rows in the log it is as fast as with none. A replay takes two thirds of the time.
//   - Accept from 64 submitters of one request each takes 2.6 to 4 times as many a second as an INSERT for each on 15 connections, and a
//     sixth of the CPU of both sides.
//   - Dashboard of 1,000 services with ten million messages takes 1.4 times as long as a lookup of 1,000 rows by their key.
//
// # Concurrency and shutdown
//
// A DB is safe for concurrent use. Close waits for calls in progress and closes the connections; end the calls first.
package postgres
