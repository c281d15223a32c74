// Package sqlite is the store in a SQLite file, for services that have no database server: pure Go, nothing to install.
// Package store says what every store guarantees; this is what this one adds. It is a module of its own, so that
// only who uses it depends on SQLite.
//
// # What is there
//
// Migrate makes the tables health_messages, instance_status, health_alerts (skip rows with raise_count = 0: each is a resolution
// whose raise is still under way), uptime_changes, health_rollups and rollup_pending, requests with queue_owners and
// queue_metrics, the views service_status and uptime_episodes, and upbeat_migrations. Times in them are microseconds since
// 1970. Maintain deletes what retention doesn't keep and makes the rollups, by which questions about one service find their
// way; nothing runs in the background: call it from a ticker, every minute if Metric and the throughput of Dashboard are to
// be that fresh.
//
// # What it guarantees
//
// The file is in WAL mode: one writer at a time, any number of readers beside it. A commit is on disk before Record
// returns (synchronous=FULL). So neither kill -9 nor a power failure loses what was recorded, if the disk keeps its
// word; NORMAL, which many use, would survive the kill only. What it costs is one fsync per Record: record in batches. Calls of
// Accept that come while a commit is under way share the next one.
//
// # What it does not guarantee
//
// The file must lie on a local disk. Several processes may use it, but the writer of one waits at most ten seconds for
// that of another. Whether a message is too old or of the future, and whether a lease has run
// out, is decided by this machine's clock.
//
// # Speed
//
// As ratios within one run on two cores; measure your own machine with go test -run '^$' -bench . in this folder. Record in batches of 5,000
// writes 0.7 to 0.9 times what a loop over a prepared INSERT does, which checks nothing and keeps no statuses. Accept from 64
// submitters takes 7 to 14 times as many requests a second as an INSERT for each. A page far down costs what the first one does (-bench Page).
//
// # Concurrency and shutdown
//
// A DB is safe for concurrent use. Close waits for calls in progress; end those first.
package sqlite
