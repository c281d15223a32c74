package redisstream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/internal/redisonce"
)

// wide is more names and values than an entry may have that a script adds: Lua passes fewer than 8,000 arguments to a function.
const wide = 7000

// buryWide adds the dead letters that no script can, and returns how all outcomes are to be settled then. Should the reply be lost, there is a second
// letter.
func (l *lane) buryWide(ctx context.Context, outcomes []consumer.Outcome) ([]consumer.Outcome, error) {
	isWide := func(o consumer.Outcome) bool { return o.Kind == consumer.Dead && o.Token.(*entry).fields.len() > wide }
	if !slices.ContainsFunc(outcomes, isWide) {
		return outcomes, nil
	}
	outcomes = slices.Clone(outcomes) // it is the caller's
	for i, o := range outcomes {
		if !isWide(o) {
			continue
		}
		e := o.Token.(*entry)
		foreign, err := l.foreign(ctx, e.id)
		switch {
		case err != nil:
			return nil, err
		case foreign:
			outcomes[i].Kind = consumer.Release // which leaves alone what is another's
			continue
		case !e.buried:
			if err := l.src.rdb.Process(ctx, redisonce.Cmd{Cmder: redis.NewStringCmd(ctx, l.wideLetter(e, o)...)}); err != nil {
				return nil, fmt.Errorf("add a dead letter: %w", err)
			}
			e.buried = true
		}
		outcomes[i].Kind = consumer.Ack
	}
	return outcomes, nil
}

// foreign tells whether another consumer has the entry.
func (l *lane) foreign(ctx context.Context, id string) (bool, error) {
	cfg := &l.src.cfg
	p, err := l.src.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: l.stream, Group: cfg.Group, Start: id, End: id, Count: 1}).Result()
	if err != nil && !isGroupGone(err) {
		return false, fmt.Errorf("look whose entry it is: %w", err)
	}
	return len(p) > 0 && p[0].Consumer != cfg.Consumer, nil
}

func (l *lane) wideLetter(e *entry, o consumer.Outcome) []any {
	args := []any{"xadd", l.dead, "*"}
	for name, value := range e.fields.all() {
		if !strings.HasPrefix(name, ourPrefix) {
			args = append(args, name, value)
		}
	}
	return append(args, l.death(o)...)
}

// replay moves some letters.
func (d *DeadLetters) replay(ctx context.Context, ids []string) (replayed int64, err error) {
	args := []any{wide}
	for _, id := range ids {
		args = append(args, id)
	}
	reply, err := d.rdb.Eval(ctx, replayScript, []string{d.stream, d.dead}, args...).Slice()
	if err != nil {
		return 0, err
	}
	if len(reply) != 2 {
		return 0, fmt.Errorf("%w: %.200q", errReply, reply)
	}
	replayed, _ = reply[0].(int64)
	rest, _ := reply[1].([]any)
	for _, id := range rest {
		id, _ := id.(string)
		moved, err := d.replayWide(ctx, id)
		if err != nil {
			return replayed, err
		}
		replayed += moved
	}
	return replayed, nil
}

// replayWide moves one letter that no script can: it is added before it is removed.
func (d *DeadLetters) replayWide(ctx context.Context, id string) (moved int64, err error) {
	reply, err := d.rdb.Do(ctx, "xrange", d.dead, id, id).Slice()
	if err != nil || len(reply) == 0 {
		return 0, err
	}
	letter, _ := reply[0].([]any)
	if len(letter) != 2 {
		return 0, fmt.Errorf("%w: %.200q", errReply, reply)
	}
	args, as := []any{"xadd", d.stream, "*"}, any("")
	fields, _ := letter[1].([]any)
	for field := range slices.Chunk(fields, 2) {
		switch name, _ := field[0].(string); {
		case !strings.HasPrefix(name, ourPrefix):
			args = append(args, field...)
		case name == "upbeat_id":
			as = field[1]
		}
	}
	add := redis.NewStringCmd(ctx, append(args, "upbeat_replayed", as)...)
	if err := d.rdb.Process(ctx, redisonce.Cmd{Cmder: add}); err != nil {
		return 0, err
	}
	return d.rdb.XDel(ctx, d.dead, id).Result()
}
