package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// publishFunc brings one encoded beat to its readers. It is all that a Publisher knows of Redis.
type publishFunc func(ctx context.Context, payload []byte) error

// redisTransport sends a beat to all of its places in one trip.
type redisTransport struct {
	rdb          redis.UniversalClient
	channels     []string
	retainKey    string
	retain       int64 // seconds; 0 for not at all
	stream       string
	streamMaxLen int64 // negative for no cap
}

func newRedisTransport(rdb redis.UniversalClient, cfg Config) *redisTransport {
	t := &redisTransport{
		rdb: rdb, channels: cfg.Channels, retainKey: cfg.RetainKey,
		stream: cfg.Stream, streamMaxLen: cfg.StreamMaxLen,
	}
	if cfg.Retain > 0 {
		t.retain = int64((cfg.Retain + time.Second - 1) / time.Second)
	}
	return t
}

// publish sends the beat as one pipeline; in Cluster that is one for each node concerned, side by side. The copy
// to retain goes first, so that who hears of a beat finds it there.
func (t *redisTransport) publish(ctx context.Context, payload []byte) error {
	pipe := t.rdb.Pipeline()
	var sent []redis.Cmder
	add := func(args ...any) {
		cmd := onceCmd{redis.NewCmd(ctx, args...)}
		sent = append(sent, cmd)
		_ = pipe.Process(ctx, cmd) // only queues
	}
	if t.retain > 0 {
		add("set", t.retainKey, payload, "ex", t.retain)
	}
	for _, channel := range t.channels {
		add("publish", channel, payload)
	}
	switch {
	case t.stream == "":
	case t.streamMaxLen < 0:
		add("xadd", t.stream, "*", "channel", t.channels[0], "payload", payload)
	default:
		add("xadd", t.stream, "maxlen", "~", t.streamMaxLen, "*", "channel", t.channels[0], "payload", payload)
	}
	_, err := pipe.Exec(ctx)
	return cmp.Or(distinctErrors(sent), err) // a hook may fail the pipeline and leave its commands without an error
}

// distinctErrors joins the errors of commands, each once: when the connection fails, all have the same.
func distinctErrors(cmds []redis.Cmder) error {
	var all []error
	seen := map[string]bool{}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			all = append(all, fmt.Errorf("%s: %w", cmd.Name(), err))
		}
	}
	return errors.Join(all...)
}

// onceCmd is a command that the client must not send twice: after a lost reply the first may have been executed,
// and a second PUBLISH or XADD would be a second beat.
type onceCmd struct{ *redis.Cmd }

// NoRetry is asked by the client before it repeats a command, alone, in a pipeline or in Cluster.
func (onceCmd) NoRetry() bool { return true }
