// Package redispubsub is a source for package consumer: Redis channels and patterns, at most once; and a [Bridge] from there into a stream.
//
//	src, err := redispubsub.New(rdb, redispubsub.Config{Patterns: []string{"health:service:*"}})
//	…
//	c, err := consumer.New(src, handler, consumer.Config{DeadLetter: …})
//
// Every process that subscribes hears every message: this shares no load. Use it for live views, and package redisstream for what must not be
// lost. Where senders can only PUBLISH, run two bridges and read the stream:
//
//	b, err := redispubsub.NewBridge(rdb, redispubsub.BridgeConfig{From: redispubsub.Config{Patterns: …}, Stream: "health:messages"})
//	…
//	err = b.Run(ctx)
//
// # Messages
//
// The headers of a message are "channel" and "pattern". Its time is that of its receipt, as Redis gives it none. Its ID is
// <service>/<instance>/<run>/<count> where the payload is a heartbeat that says them ("service_name", "instance_id", "run" in "upbeat",
// "heartbeat_count"), so it is the same for all who hear it; without a run, a hash of the payload follows the count, as a sender that starts again
// counts from 1 again. Any other message gets an ID of this process. What matches several channels and patterns comes several times.
//
// # What it guarantees
//
//   - A connection that died without a word is noticed within Config.Ping and Config.Timeout, and made again for as long as it takes. Each time
//     of deafness is a [Gap]: outside of all gaps nothing was missed that was published.
//   - At most Config.Buffer messages and Config.BufferBytes wait for the consumer; what happens beyond that Config.Overflow says.
//   - Every loss that can be known is a number: what was dropped here, what was too large, and what senders that count their messages
//     sent and nobody here heard. [Source.Lost] is their sum, which consumer.Stats has as Lost.
//
// # What it does not
//
// Redis keeps nothing for absent subscribers. What is published during a gap by senders that don't count is lost without a number. What is tried again
// is kept in memory and lost with the process; what waits when the source is closed is lost, and counted. It keeps no dead letters.
//
// # Requirements
//
// A *redis.Client (plain or with Sentinel) or a *redis.ClusterClient, and the rights to SUBSCRIBE or PSUBSCRIBE and, better than not, to PING. The
// subscription has a connection of its own. A bridge needs EVAL, TIME, XADD, ZADD, ZSCORE, ZREMRANGEBYSCORE and PEXPIRE as well.
//
// # Concurrency and shutdown
//
// A Source serves one consumer, which closes it at the end of its Run. It subscribes at the first Receive: a consumer that is disabled does
// not. All methods are safe for concurrent use.
package redispubsub
