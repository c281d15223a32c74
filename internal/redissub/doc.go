// Package redissub subscribes to Redis channels and knows whether it still hears them.
//
// The client's own subscription takes silence for peace: its Ping doesn't wait for the answer, and what was published while it made a
// connection again is gone without a word. A [Subscription] asks the server at a steady pace and waits for the answer, so that
//
//   - a dead connection (half-open, black-holed, a stopped server) is noticed within Config.Ping and Config.Timeout together;
//   - a lost subscription is made again by itself for as long as Run goes on, after a pause that grows to 3s and differs for everybody;
//   - each time without one is told as a [Gap]: what was published outside of all gaps has been delivered. As a server answers in order, an
//     answer proves the delivery of all that was published before the question; a gap begins at the last question that was answered.
//
// # Limits
//
// What is published in a gap is lost, as Redis keeps nothing for absent subscribers. Nothing else is dropped: a slow receiver is waited for,
// and when the server cuts the connection for it (client-output-buffer-limit pubsub), that is a gap. A message larger than Config.MaxBytes is
// delivered without its payload and counted. Memory is bounded by that and 24 KiB of buffers. A message of usual size costs no allocation.
//
// In a Cluster any one node hears what is published on all. A node that has lost the others still answers: who publishes a token on each
// master ([Masters]) and doesn't see it return calls [Subscription.Renew]. With Sentinel the master is looked up for each connection.
//
// TLS, credentials, Sentinel and RESP2 or RESP3 are those of the client that New is given. Its hooks do not see the subscription.
//
// # Concurrency
//
// Run does all its work on the goroutine that calls it, but for attempts to connect, which it waits for. The functions of Config must not
// panic. The other methods are safe for concurrent use.
package redissub
