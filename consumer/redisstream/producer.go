package redisstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redisonce"
)

// ProducerConfig says where to send. Stream is required.
type ProducerConfig struct {
	// Stream is the name of the stream, or what the names of its partitions begin with.
	Stream string
	// Partitions is among how many streams the messages are spread by their keys: see [Partitions] and [PartitionOf]. Messages without a
	// key go to each in turn. 0 means a single stream, Stream itself.
	Partitions int
	// Field is the entry's field that is the payload. Empty means "payload".
	Field string
	// MaxLen is how many entries are kept per stream, about: older ones are removed with each send, whether they were handled or not. 0
	// means that a producer removes nothing: see [Trim].
	MaxLen int64
}

// Outgoing is a message to send.
type Outgoing struct {
	// Key is for consumer.Config.Key, by the function [Key]: messages with the same key stay in order. May be empty.
	Key string
	// ID is the sender's own name for the message. A message that was sent again has another entry, and so another consumer.Raw.ID, but the same
	// [SenderID]: a store that is idempotent by that has it once. May be empty.
	ID string
	// Payload may be empty.
	Payload []byte
	// Headers are further fields of the entry. They can't be named like the field of the payload, "key" or "id", or begin with "upbeat_".
	Headers map[string]string
}

// Producer sends messages in the form that a Source reads. Safe for concurrent use.
type Producer struct {
	rdb     redis.UniversalClient
	cfg     ProducerConfig
	streams []string
	turn    atomic.Uint64 // of messages without a key
}

// NewProducer returns a producer. It doesn't connect. rdb stays the caller's.
func NewProducer(rdb redis.UniversalClient, cfg ProducerConfig) (*Producer, error) {
	cfg.Field = cmp.Or(cfg.Field, "payload")
	_, err := inCluster(rdb)
	if !isName(cfg.Stream) {
		err = errors.Join(err, fmt.Errorf("redisstream: ProducerConfig.Stream is %q: want 1 to 256 printable bytes of UTF-8", cfg.Stream))
	}
	if cfg.Partitions < 0 || cfg.Partitions > maxPartitions {
		err = errors.Join(err, fmt.Errorf("redisstream: ProducerConfig.Partitions is %d: want 1 to %d, or 0 for a single stream", cfg.Partitions, maxPartitions))
	}
	if cfg.MaxLen < 0 {
		err = errors.Join(err, fmt.Errorf("redisstream: ProducerConfig.MaxLen is %d: want at least 1, or 0 to remove nothing", cfg.MaxLen))
	}
	if cfg.Field == keyHeader || cfg.Field == idHeader {
		err = errors.Join(err, fmt.Errorf("redisstream: ProducerConfig.Field is %q: want another name, which is not that of a header", cfg.Field))
	}
	if err != nil {
		return nil, err
	}
	p := &Producer{rdb: rdb, cfg: cfg, streams: []string{cfg.Stream}}
	if cfg.Partitions > 0 {
		p.streams = Partitions(cfg.Stream, cfg.Partitions)
	}
	return p, nil
}

const (
	maxPartitions = 4096
	sendCount     = 1000    // of messages in one round trip
	sendBytes     = 4 << 20 // of their payloads, about
)

// Send adds msgs in their order and blocks until Redis has answered for all, a thousand in each round trip. ids are those by which a consumer
// will know them (consumer.Raw.ID), in the same order: with an error, "" stands for a message that isn't known to be stored.
//
// Nothing is sent twice, whatever the client's MaxRetries: when a reply is lost, the message may be stored or not, and only the caller knows
// whether to send it again. With an [Outgoing.ID] readers notice. After the first round trip with a failure the rest isn't sent.
func (p *Producer) Send(ctx context.Context, msgs ...Outgoing) (ids []string, err error) {
	for i := range msgs {
		if err := p.check(&msgs[i]); err != nil {
			return make([]string, len(msgs)), fmt.Errorf("redisstream: message %d: %w", i, err)
		}
	}
	ids = make([]string, len(msgs))
	for sent := 0; sent < len(msgs) && err == nil; {
		n := fitting(msgs[sent:])
		err = p.send(ctx, msgs[sent:sent+n], ids[sent:])
		sent += n
	}
	return ids, err
}

// fitting is how many of msgs go into one round trip.
func fitting(msgs []Outgoing) (n int) {
	for bytes := 0; n < min(sendCount, len(msgs)) && bytes < sendBytes; n++ {
		bytes += len(msgs[n].Payload)
	}
	return n
}

func (p *Producer) check(m *Outgoing) error {
	for name := range m.Headers {
		if name == "" || name == p.cfg.Field || name == keyHeader || name == idHeader || strings.HasPrefix(name, ourPrefix) {
			return fmt.Errorf("header %q: want another name", name)
		}
	}
	return nil
}

func (p *Producer) send(ctx context.Context, msgs []Outgoing, ids []string) error {
	pipe := p.rdb.Pipeline()
	streams, cmds := make([]string, len(msgs)), make([]*redis.StringCmd, len(msgs))
	for i := range msgs {
		streams[i] = p.streamOf(msgs[i].Key)
		cmds[i] = redis.NewStringCmd(ctx, p.xadd(streams[i], &msgs[i])...)
		_ = pipe.Process(ctx, redisonce.Cmd{Cmder: cmds[i]})
	}
	_, failed := pipe.Exec(ctx)
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			failed = cmp.Or(failed, err)
		} else if cmd.Val() != "" { // a hook may have failed the pipeline before it was sent
			ids[i] = streams[i] + "/" + cmd.Val()
		}
	}
	if failed != nil || slices.Contains(ids[:len(msgs)], "") {
		return fmt.Errorf("redisstream: send to %s: %w", p.cfg.Stream, cmp.Or(failed, errNoReply))
	}
	return nil
}

var errNoReply = errors.New("no reply")

func (p *Producer) streamOf(key string) string {
	if key == "" {
		return p.streams[p.turn.Add(1)%uint64(len(p.streams))]
	}
	return p.streams[PartitionOf(key, len(p.streams))]
}

func (p *Producer) xadd(stream string, m *Outgoing) []any {
	args := make([]any, 0, 12+2*len(m.Headers))
	args = append(args, "xadd", stream)
	if p.cfg.MaxLen > 0 {
		args = append(args, "maxlen", "~", p.cfg.MaxLen)
	}
	args = append(args, "*", p.cfg.Field, m.Payload)
	if m.Key != "" {
		args = append(args, keyHeader, m.Key)
	}
	if m.ID != "" {
		args = append(args, idHeader, m.ID)
	}
	for name, value := range m.Headers {
		args = append(args, name, value)
	}
	return args
}
