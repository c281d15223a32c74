// Package redisstream is a source for package consumer: Redis Streams, read by a consumer group, at least once.
//
//	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{"orders"}, Group: "billing"})
//	…
//	c, err := consumer.New(src, handler, consumer.Config{})
//
// Any number of processes with the same group share the streams. The group is made when it isn't there, and then begins with the oldest
// entry: nothing that was published before is missed.
//
// # Messages
//
// The payload of a message is the entry's field "payload", or another one that Config.Field names; every field is a header. Its
// ID is "<stream>/<entry id>", and its time is that of the entry's id: the time at which Redis got it.
//
// A [Producer] sends such messages, in pipelines. With a key ([Outgoing].Key, and consumer.Config.Key: redisstream.Key) those of one key stay in
// order within a process.
//
// # Order across processes
//
//	p, err := redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: "orders", Partitions: 16})
//	src, err := redisstream.New(rdb, redisstream.Config{Streams: redisstream.Partitions("orders", 16), Exclusive: true, Group: "billing"})
//	c, err := consumer.New(src, handler, consumer.Config{Key: redisstream.Key})
//
// Each partition is a stream, and is read by one consumer at a time. They share them evenly, by two small keys beside each stream:
// "<stream>:owner:<group>", which runs out a lease after its owner was last heard of, and "<stream>:members:<group>". When a consumer joins or
// leaves, partitions move once what was read of them is settled, within some fifteen seconds at the default lease if handlers are quick. That of
// a consumer that was killed is free after a Lease, and whoever gets it begins with all that was pending, in its order.
//
// Each read and each ack is refused by Redis unless it comes from the owner. One that can't reach Redis takes its partitions for lost after
// two thirds of a lease: it reads no more, and its handlers are cancelled (consumer.ErrLeaseLost). What Redis can't refuse is the effect of a handler
// in a process that was stopped for longer than that, and goes on: let its store do so.
//
// A message that failed and is tried again comes after those that were read meanwhile, on partitions as well.
//
// # What it guarantees
//
//   - An entry is acked when its message is done, not before. What a consumer held when it was killed goes to another one after
//     Config.Lease. A consumer that is started again under the same name gets it at once.
//   - Leases are renewed for as long as a message is held, by a script that looks whose it is: a slow handler is stolen nothing from,
//     and steals nothing back.
//   - Attempts are counted by failures alone. They are kept in Redis, as the entry's delivery count, and so survive the process; neither a
//     crash nor a drain raises them. A failed message waits in Redis, too: any consumer of the group takes it when its time has come.
//     That time is at most a Lease away.
//   - A dead letter is added to the stream "<stream>:dead" and acked in one step, so it is there once. It has the fields of the entry, and
//     upbeat_reason, upbeat_attempts, upbeat_group, upbeat_id (of the message) and, after a panic, upbeat_stack; [DeadLetters] lists and replays them. In a cluster the name
//     is "{<stream>}:dead", which lies on the same node, unless the stream's name has a hash tag of its own. Nothing trims that stream.
//   - When the group is gone (after a flush, or a failover to a replica that didn't know it) it is made again at the lowest entry that
//     this consumer doesn't know to be settled, less two leases for what others held: entries are delivered twice rather than not at all.
//   - What the server has lost is told: entries that were delivered once and aren't there any more are counted in consumer.Stats.Lost, and where
//     it may have forgotten some that nobody had read, that is one of consumer.Stats.Gaps, with its reason. The sign of it is that the last
//     entry that was delivered isn't in the stream any more, when the group was gone or went back.
//
// # What it does not
//
// It trims nothing: [Trim] removes what every group has settled, and a MaxLen of the [Producer] what is too much. Entries that Redis trims
// (MAXLEN, MINID, XDEL) before they were handled are lost. When a reply is lost on the way, its messages come again after a Lease. An entry that
// takes longer to cross the link than the client's ReadTimeout never arrives: it is asked for alone in the end, and then in vain, until the
// link is better or the timeout longer.
//
// While a node of a cluster is down, what belongs to it waits to be settled, and so do the outcomes of the other streams until it is
// back or replaced: they are handled in the meantime, up to Config.MaxInFlight of the consumer.
//
// # Requirements
//
// Redis 6.2 or newer, or a server like it: a *redis.Client (plain or with Sentinel) or a *redis.ClusterClient. A consumer uses
// one connection of its own for each stream that it reads, beside those of the client: its reads pass by the client's hooks and limiter. Allowed
// have to be, on the streams and the keys named above that begin with their names, XREADGROUP, XACK, XADD, XGROUP, XINFO,
// XRANGE, XREVRANGE, XPENDING, XCLAIM, XAUTOCLAIM, EVAL and, better than not, CLIENT ID and CLIENT UNBLOCK; for exclusive streams also XREAD, GET, SET,
// DEL, PEXPIRE, TIME, ZADD, ZREM, ZRANGE and ZREMRANGEBYSCORE; for [Trim] XLEN and XTRIM, for [DeadLetters] XLEN and XDEL.
//
// # Concurrency and shutdown
//
// A Source serves one consumer, which closes it at the end of its Run. Consumers that end are removed from the group
// once they have nothing pending; names that nothing was heard of for an hour are removed by those that start.
package redisstream
