// Package store holds what the stores of this library have in common: the records, the errors, and the
// rules by which a message is kept. It imports the standard library alone. The stores themselves are
// [github.com/upbeat-go/upbeat/store/postgres] and [github.com/upbeat-go/upbeat/store/sqlite];
// storetest is the suite that both pass, and that any other store can run.
//
// A store remembers about a fleet of services:
//
//   - the audit log, health_messages: every message that was recorded, each once, for the retention period;
//   - the newest status of every instance, instance_status, and of every service, service_status;
//   - alerts, health_alerts: each episode, from its first raise to its end;
//   - uptime, uptime_changes: when which instance was up, down, or nobody knew;
//   - rollups, health_rollups: counts, least, mean, greatest and a histogram of each number of each service by the minute.
//   - requests of queues: who runs each, how far it is, and how it ended; and queue_metrics, how the queues stood.
//
// # What every store guarantees
//
// Record is idempotent. A message is known by its time and its ID together, so both must be fixed with the
// message and the same at every redelivery: the broker's entry time, for instance, never "now". Replaying a
// batch, or a part of it, in any order, at the same time from several processes, changes nothing.
//
// A message whose time lies outside the window (from the start of the oldest day that retention keeps until a
// day ahead of the clock), or that can't be stored faithfully, is refused with a [*MessageError] that names it,
// all of them gathered in one [*RefusedError]; the rest of the batch is stored. Any other error means that the
// batch may or may not be stored in part, and that recording it again is safe.
//
// A message that says a status takes part in the newest status, in the transaction that stores it and only if
// it was not there already. Within an instance the greater Count wins, then the later time; between the
// instances of a service the later time wins. The outcome doesn't depend on the order of arrival.
//
// What a message says of an alert takes effect in the same way: in the transaction that stores it, once. There is at most one
// open episode of an alert. Whether there is one follows the newest thing that was said about the alert, in whatever order
// that arrives.
//
// Requests have their own rules: one is known by its queue and ID and stored once for as long as it is kept, belongs to one owner at a
// time, who alone can move it, and ends once. A batch of new requests, or of transitions, with a request that can't be stored
// faithfully is refused whole, with a [*RefusedRowsError] that names each.
//
// # What can be asked
//
// Services gives the newest statuses, Alerts the episodes by what they are, Timeline what happened to one service in one order of
// time, Uptime how long it was up, Metric its throughput or the distribution of a number in its payloads, Messages the log
// itself, and Dashboard the state of everything in one call; [DashboardHandler] serves that over HTTP. Answers that
// grow come in pages that stay complete and aligned while more is written: each page names the place where the next one
// goes on. [Judge] tells which figures deserve an alert.
//
// # What it does not guarantee
//
// Times are kept to the microsecond. The same ID with another time is another message. Two messages with the same
// time and ID but different contents break the contract: the first one recorded stays. Retention forgets
// whole UTC days, and with them the knowledge that their messages were recorded.
//
// # Concurrency and shutdown
//
// A store is safe for concurrent use by any number of goroutines and processes. Every method obeys its context and
// leaves no goroutine behind; Close waits for calls in progress, so end those first.
package store
