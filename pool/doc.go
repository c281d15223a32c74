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
//   - No command is sent a second time after it may have run. A lost reply is an error, and the caller knows whether the command may
//     be repeated; go-redis alone would run an INCR up to four times. What a server refused without running it (MOVED, LOADING,
//     CLUSTERDOWN, a refused dial) is tried again in a Cluster, where that is how one finds the right node.
//   - Contexts are obeyed: their deadlines bound reads, writes and the wait for a connection. In Standard, cancellation takes effect between
//     those steps; in Blocking, within 50 ms on a live connection, and what had arrived by then is returned.
//   - A peer that vanished is noticed by keepalive and, on Linux, TCP_USER_TIMEOUT; an idle connection that ended or was
//     idle for too long is replaced before use, with TLS too (on Windows by age alone).
//   - No error, log line or printed Config shows a secret.
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
// # What it doesn't do
//
// An element that BLPop takes off a list is lost if the connection dies with the reply on its way: where that matters, use BLMove
// or a stream with a consumer group. Subscriptions made with Standard are go-redis's own, with connections outside the
// profile's number. A Cluster that grows after Open gets as many connections per new master as the others have.
//
// # Concurrency and shutdown
//
// Everything here may be used by many goroutines at once. Without Run nothing runs in the background but what go-redis itself starts (the
// watch over Sentinels). Close ends Run and waiting Blocking calls, and returns when the latter have.
package pool
