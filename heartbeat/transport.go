package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redisonce"
)

// publishFunc brings one message to its readers. It is all that a Publisher knows of Redis.
type publishFunc func(ctx context.Context, m message) error

// message is what goes out in one trip: to all of its channels, to the retained copy, and to the stream when there is one.
type message struct {
	channels []string
	payload  []byte
	retain   bool
}

// redisTransport sends a message to all of its places in one trip.
type redisTransport struct {
	rdb          redis.UniversalClient
	retainKey    string
	retain       int64 // seconds; 0 for not at all
	stream       string
	streamMaxLen int64 // negative for no cap
}

func newRedisTransport(rdb redis.UniversalClient, cfg Config) *redisTransport {
	return &redisTransport{
		rdb: rdb, retainKey: cfg.RetainKey, retain: cfg.retainSeconds(),
		stream: cfg.Stream, streamMaxLen: cfg.StreamMaxLen,
	}
}

// publish sends the message as one pipeline; in Cluster that is one for each node concerned, side by side. The copy
// to retain goes first, so that who hears of a beat finds it there.
func (t *redisTransport) publish(ctx context.Context, m message) error {
	pipe := t.rdb.Pipeline()
	var sent []redis.Cmder
	add := func(args ...any) {
		cmd := redisonce.Cmd{Cmder: redis.NewCmd(ctx, args...)} // a second PUBLISH or XADD would be a second beat
		sent = append(sent, cmd)
		_ = pipe.Process(ctx, cmd) // only queues
	}
	if m.retain && t.retain > 0 {
		add("set", t.retainKey, m.payload, "ex", t.retain)
	}
	for _, channel := range m.channels {
		add("publish", channel, m.payload)
	}
	switch {
	case t.stream == "":
	case t.streamMaxLen < 0:
		add("xadd", t.stream, "*", "channel", m.channels[0], "payload", m.payload)
	default:
		add("xadd", t.stream, "maxlen", "~", t.streamMaxLen, "*", "channel", m.channels[0], "payload", m.payload)
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
			all = append(all, fmt.Errorf("%s: %w", cmd.Name(), namingRight(cmd, err)))
		}
	}
	return errors.Join(all...)
}
