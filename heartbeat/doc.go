// Package heartbeat says that a service is alive, and knows which one is not.
//
// A [Publisher] sends a small JSON message, the beat, at a steady pace, independent of the work of the process. A
// [Manager] is one that also sends a status, metrics and alerts, and knows whether the work makes progress. A
// [Monitor] judges the instances of all services by the age of their newest beat.
//
//	pub, err := heartbeat.NewPublisher(rdb, "geocoding", heartbeat.Config{})
//	if err != nil {
//		return err
//	}
//	err = pub.Collect("pending_requests", func(context.Context) (any, error) { return pending.Load(), nil })
//	if err != nil {
//		return err
//	}
//	var wg sync.WaitGroup
//	wg.Go(func() { failure = pub.Run(ctx) })
//	defer wg.Wait() // or the goodbye is lost
//
// # A beat
//
//	{"service_name":"geocoding","instance_id":"2f1c…","timestamp":"2025-01-16T08:30:00.123456+00:00",
//	 "uptime_seconds":3600.5,"heartbeat_count":60,"memory_usage_mb":156.3,"cpu_usage_percent":12.5,
//	 "pending_requests":17,
//	 "upbeat":{"v":1,"interval_seconds":60,"state":"running","tick_late_seconds":0,"run":"QX…"}}
//
// Everything flat but the first seven names is the service's own; everything that this package adds is within
// "upbeat". The beat is published on health:service:<service>:heartbeat, kept for a while at
// health:last:<service>:<instance>, and added to a stream when one is configured.
//
// # What is guaranteed
//
// A beat is one pipelined round trip (in Redis Cluster one for each node concerned, side by side), sent at most
// once: a lost reply never makes two beats out of one. It is bounded in time by less than the interval, even
// with a client that does not heed contexts, so that a beat that fails never keeps the next one from its time. A
// collector that hangs, panics, errs or returns what JSON can't hold costs its own field alone. heartbeat_count
// grows with every attempt, so that readers can count what they missed.
//
// A [Monitor] doubts itself before it doubts others. What it publishes for itself must come back on every path, and
// its own looks must be on time: else it is blind, says so within ten seconds, and gives no verdict on silence until
// it can hear again and everybody has had the time to beat. Before "stale" and "dead" it asks Redis for the beat that
// was retained. When most of the fleet falls silent at once it says that, once, and holds the deaths back for a
// bounded time. [Monitor.Events] gives each change once, with its reason; [Monitor.Instances], [Monitor.Alive] and
// [Monitor.Services] show the present. Uptime is up, down or unknown, and never guessed. [Monitor.Snapshot] and
// [Monitor.Restore] carry all of it over a restart. Without a Redis client it is fed by [Monitor.Observe] alone.
//
// The monitor never compares a sender's clock with its own: ages are measured on the local monotonic clock, from the
// moment when a message entered the broker. Beats that come twice, late or in disorder never move an instance back,
// and no input makes it panic or grow without bound.
//
// # What is not
//
// Pub/sub delivers to who listens at that moment: a beat may be lost, which is why the newest is kept, too. A
// goodbye may be lost like any other beat. A beat proves that the process runs and reaches Redis, not that its work
// makes progress. Beats are not signed: who may publish in Redis may send them in anybody's name.
//
// # What was measured
//
// A million hours of instances under a monitor, in 400 simulated fleets of which 5 % of the messages are lost, senders and the monitor stand still for
// half a minute, brokers restart, connections are half open and nobody reaches the broker for minutes (make soak): no false death; each
// true one told within its threshold and a second, unless the monitor had said that it was blind or held deaths back; each goodbye that
// arrived within a second, blindness within ten. What each protection buys, on a tenth of that:
//
//	detector                false dead  false stale
//	monitor                          0            5
//	without canary                  10        35647
//	without second opinion        3229       247957
//	without mass hold            59978            6
//	with none of them           121046       306290
//	plain 90 s and 180 s        121130       326637
//
// Beside the alternative in the same run, on two cores: a beat without the process's figures takes about 1.5 times the processor time of a bare
// go-redis pipeline of the same three commands (make bench BENCH=BenchmarkBeat); with them half a millisecond. Observe takes a fifth of
// json.Unmarshal of the same bytes and allocates nothing; a million instances are some 505 bytes each beside their beats, and a look at all of them,
// twice a second, takes 35 to 60 ms (go test -bench 'Monitor_(Observe|Look)' ./heartbeat).
//
// # Access rights
//
// The least that a Redis user needs, in the words of ACL SETUSER. A sender:
//
//	+publish &health:service:<service>:heartbeat +set %W~health:last:<service>:*
//
// and with a stream +xadd %W~<stream>. A monitor:
//
//	+subscribe +psubscribe +publish &health:canary:* &health:service:*:heartbeat +scan +getrange +pttl %R~health:last:*
//
// In Redis Cluster both need +cluster|slots beside that.
//
// Redis compares the pattern of a PSUBSCRIBE with the rule letter by letter: write it as it stands here. Where a right is
// missing the error, or the event that tells of blindness, names it.
//
// # Concurrency and shutdown
//
// All exported methods are safe for concurrent use. No constructor starts anything; the only goroutines are those of
// Run and [Publisher.Beat], which have ended when Run returns nil: a beat under way has one for its trip, because a client can't be made
// to give up, and one for each collector. Cancel the context of Run to shut
// down, after the work has been drained: the last beat says "stopped". Close the Redis client after that.
package heartbeat
