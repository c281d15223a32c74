// Package consumer handles every message of a source, so many at a time, and loses none.
//
//	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{"orders"}, Group: "billing"})
//	…
//	c, err := consumer.New(src, func(ctx context.Context, m *consumer.Message[Order]) error {
//		return bill(ctx, m.Value)
//	}, consumer.Config{})
//	…
//	var wg sync.WaitGroup
//	wg.Go(func() { err = c.Run(ctx) }) // until ctx ends, and then for as long as it takes to drain
//
// [New] hands out one message at a time, [NewBatch] as many as are there: what goes into a database goes there best in one statement.
//
// [Chain] surrounds a handler with what every service wants, such as [Timeout] and [LogFailures].
//
// # What it guarantees
//
//   - Each message is handled until a handler is done with it or it is kept as a dead letter; only then is it acked. So it is handled at
//     least once if its source delivers at least once, and more than once after a crash: handlers have to be idempotent.
//
//   - At most Config.Concurrency handlers run, at most Config.MaxInFlight messages and about Config.MaxBytes of payload are held.
//
//   - A message that fails by itself is tried again after a while, Config.MaxAttempts times in all, and is then a dead letter. So
//     is one that can't be decoded, or whose error is marked with [Permanent]. In the meantime all others go on.
//
//   - An outage makes no dead letters. An error that [IsTransient], or Config.IsTransient, tells from a message's own fault gets a few
//     quick tries. If nobody gets through in that time, intake pauses and one handler at a time probes, until one message is
//     handled. If others do get through, the message is put aside for Config.MaxBackoff, as often as it takes: no attempt is counted.
//
//   - A panic of a handler is a failure like another; its error is a [*PanicError]. A handler that ends its goroutine costs no slot.
//
//   - A failed batch costs its good messages nothing: see [NewBatch].
//
//   - A handler whose message was lent to somebody else, as after a long pause of this process, is told by its context: [ErrLeaseLost].
//
//   - When most messages become dead letters intake pauses for a while, again and again: see Config.MaxDeadShare.
//
// # Order
//
// Messages are started in the order in which they were received, and side by side. With Config.Key those with the same key are handled one after
// another, in this process; what failed and is tried again comes after what was received meanwhile.
//
// # While it runs
//
// [Consumer.Pause] and [Consumer.Resume] stop and start the work, [Consumer.SetConcurrency] changes how much of it is done at once, and
// [Consumer.Stats] tells how it goes.
//
// # What it does not
//
// It sets no deadline for handlers. A message that kills the process every time comes back every time, as nobody is left to count that.
//
// # Shutdown
//
// Run returns when its context has ended and what was started is handled and settled, or when [Config].DrainTimeout is over: see
// [Consumer.Run]. Wait for it before main returns.
//
// # Speed
//
// Reading, decoding, handling and settling overlap, and reads and acks are batched: that is where the speed comes from. Measured on two cores
// that were shared with Redis and Postgres, each pair in the same run (make bench BENCH='Stream|Durable' in the repository):
//
//   - A handler that does nothing, over Redis Streams: 1.0 to 1.3 of a bare loop of XREADGROUP and XACK by go-redis, which has no leases, retries or
//     limits; with JSON decoded 1.7 of it; with Config.Key 0.9 of without.
//   - Decoded, recorded in Postgres by package store with its commits on disk, acked: 1.6 of a loop written by hand with batches of 4,000. More
//     batches at a time than the store writes (Config.Concurrency 12) let some decode meanwhile: 8, the default, are a fifth slower.
//   - At 2,000 messages a second of that, from publishing to the commit: 0.33 of the median, and 0.04 of the 99th percentile, of
//     a loop that commits each message at once.
//
// A message of Redis Streams costs one allocation, of its id as an argument of XACK; what it consists of shares larger ones with its
// neighbours, so who keeps one message keeps the memory of fifteen others. encoding/json adds five for nine fields.
//
// In flight are at most Config.MaxInFlight messages and Config.MaxBytes: with the defaults, and heartbeats of 250 bytes, a program that
// stores them in Postgres takes less than 50 MB with GOMEMLIMIT=30MiB.
//
// # Concurrency
//
// A Consumer is safe for concurrent use. Handlers run on goroutines of their own, Config.Concurrency of them.
package consumer
