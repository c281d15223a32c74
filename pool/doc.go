// Package pool opens Redis clients that fit their job: sized and timed by a [Profile], apart for ordinary and for blocking commands,
// and the same for a single server, Sentinel and Cluster.
//
//	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379", Profile: pool.Worker()})
//	if err != nil {
//		return err // names the address and what is wrong there
//	}
//	defer clients.Close()
//	job, err := clients.Blocking().BLMove(ctx, "jobs", "jobs:running", "LEFT", "RIGHT", time.Minute)
//	err = clients.Standard().Incr(ctx, "jobs:taken").Err()
//
// # Guarantees
//
//   - Standard never holds more connections than the profile says, over all masters of a Cluster together. Blocking has its own, so that
//     blocked commands never keep others waiting.
//   - A command that changes something is never sent a second time after it may have run, unless it is declared [Idempotent]: a lost reply
//     is a [LostReplyError]. go-redis alone would run an INCR up to four times. Reads, what never left for want of a connection, and what a server
//     refused without running it (LOADING, READONLY, CLUSTERDOWN) are repeated, within the profile's RetryBudget and the context.
//   - A node that doesn't answer is left alone for a while, and its callers get an [OpenError] at once; see [Breaker]. One sick master of a
//     Cluster doesn't stop the others. At most 8 connections at a time are being made to an address.
//   - Contexts are obeyed: their deadlines bound reads, writes and the wait for a connection. In Standard, cancellation takes effect between
//     those steps; in Blocking, within 50 ms on a live connection, and what had arrived by then is returned.
//   - A batch of Pipeline says which of its commands were refused, which may have run and which were not sent. A state of Tasks changes by
//     compare-and-set with a fencing token. A subscription proves that it is alive and tells its gaps.
//   - A peer that vanished is noticed by keepalive and, on Linux, TCP_USER_TIMEOUT; an idle connection that ended or was
//     idle for too long is replaced before use, with TLS too (on Windows by age alone). So is one that is an hour old, give or take a tenth.
//   - No error, log line or printed Config shows a secret.
//
// What bare go-redis does in each case, beside this package, is the table in TRAPS.md.
//
// # Watching
//
// Run checks every master on a connection of its own and logs what an operator needs to know, once per episode. Health and
// HealthHandler say how Redis is, Stats and StatsHandler what the connections do. All of it is optional.
//
//	wg.Go(func() { _ = clients.Run(ctx) })
//	mux.Handle("/health", clients.HealthHandler())
//	mux.Handle("/api/v1/redis/pool-stats", clients.StatsHandler())
//
// # Figures
//
// Beside bare go-redis with as many connections and the same timeouts, in the same run, on two busy cores (make bench BENCH=Pool). A command
// costs some 100 ns of processor time more, and no allocation (Pool_Overhead). Under 64 callers that write and read in turn:
//
//	                                             first success        failed                    slowest command
//	kill -9, restarted after 0.5 s   upbeat      1 ms after           26, lost replies all      0.8 s
//	                                 go-redis    3 ms after           0 to 230                  0.6 s
//	Sentinel failover                upbeat      2.3 s after kill -9  88, of them 25 lost       1.5 s
//	                                 go-redis    2.4 s                1,040                     1.0 s
//	a Cluster slot moves, ten times  upbeat      2 ms after           0                         17 to 60 ms
//	                                 go-redis    1 ms after           0                         45 to 110 ms
//
// Of the failover, more than a second is what the Sentinels take to notice. A lost reply is a [LostReplyError]: go-redis sends the command
// again without a word. The rows are Pool_Restart, Pool_Failover and Pool_SlotMoves, medians or ranges of six runs each.
//
// # What it doesn't do
//
// An element that BLPop takes off a list is lost if the connection dies with the reply on its way: where that matters, use BLMove
// or a stream with a consumer group. Subscriptions made with Standard are go-redis's own, with connections outside the
// profile's number: Subscribe is the one that knows whether it hears. There are no sharded subscriptions. A Cluster that grows after
// Open gets as many connections per new master as the others have.
//
// # Concurrency and shutdown
//
// Everything here may be used by many goroutines at once. Without Run nothing runs in the background but subscriptions and what go-redis
// itself starts (the watch over Sentinels). Close ends Run, subscriptions and waiting Blocking calls, and returns when the latter have.
package pool
