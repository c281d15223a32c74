// Package redisblock runs Redis's blocking commands (BLPOP, BLMOVE, XREADGROUP and their like) so that they obey their context.
//
// A context alone doesn't end such a command: go-redis waits for the reply whatever becomes of the context, and closing the
// connection under it can lose the element that the server had just taken off a list. A [Conn] asks the server to end the
// command (CLIENT UNBLOCK, over another connection) and then waits for its reply. What had arrived is returned, even though
// the context has ended.
//
// # Guarantees
//
//   - On a live connection Do returns within 50 ms of its context's end.
//   - On one that no longer answers it returns a second or so after it: the connection is then closed and replaced by the
//     next Do. This is the only case in which a popped element can be lost, as its reply was on the way. What must not be
//     lost even then is moved (BLMOVE) or read from a stream with a consumer group.
//   - A command runs once: nothing here is retried.
//   - Without its context's help a read ends when the block time and the client's ReadTimeout, at least a second, have passed.
//   - A Conn never takes a connection from the pool of the client that it was opened from, except for the moment in which it
//     wakes the server.
//
// Where the server or its ACL knows no CLIENT ID and CLIENT UNBLOCK, a command blocks in short pieces and the server is sent a PING
// to look at its clock (idle, it does so ten times a second only): the same guarantees for more round trips.
//
// # Concurrency
//
// A Conn serves one goroutine at a time. To stop a Do, end its context. Neither Open nor Do leaves a goroutine behind,
// but for a TLS dial that go-redis's own dialer has begun: it ends with the DialTimeout.
package redisblock
