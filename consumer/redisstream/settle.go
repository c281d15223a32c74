package redisstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
)

// ackSize is how many entries one XACK names.
const ackSize = 1000

// Settle stores the outcomes, in one round trip to each node.
func (s *Source) Settle(ctx context.Context, outcomes []consumer.Outcome) error {
	byLane := map[*lane][]consumer.Outcome{}
	for _, o := range outcomes {
		e, ours := o.Token.(*entry)
		if !ours {
			return fmt.Errorf("redisstream: message %s is of another source", o.ID)
		}
		l := e.batch.lane
		if len(s.lanes) == 1 {
			byLane[l] = outcomes
			continue
		}
		if byLane[l] == nil {
			byLane[l] = make([]consumer.Outcome, 0, len(outcomes))
		}
		byLane[l] = append(byLane[l], o)
	}
	pipe := s.rdb.Pipeline()
	var stored []func()
	for l, list := range byLane {
		list, err := l.buryWide(ctx, list)
		if err != nil {
			return fmt.Errorf("redisstream: settle: %w", err)
		}
		stored = append(stored, l.settle(ctx, pipe, list))
	}
	if err := execute(ctx, pipe); err != nil {
		return fmt.Errorf("redisstream: settle: %w", err)
	}
	for _, done := range stored {
		done()
	}
	return nil
}

// settle adds to pipe what stores outcomes. The function that it returns is to be called when that has been done.
func (l *lane) settle(ctx context.Context, pipe redis.Pipeliner, outcomes []consumer.Outcome) (stored func()) {
	acks := make([]any, 0, len(outcomes))
	var ended, parked []*entry
	var returned []consumer.Outcome
	for _, o := range outcomes {
		e := o.Token.(*entry)
		switch o.Kind {
		case consumer.Retry, consumer.Release:
			parked, returned = append(parked, e), append(returned, o)
			continue
		case consumer.Dead:
			pipe.Eval(ctx, buryScript, []string{l.stream, l.dead}, l.letter(e, o)...)
		default:
			acks = append(acks, e.id)
		}
		ended = append(ended, e)
	}
	l.ack(ctx, pipe, acks)
	// Parked now, as they may be delivered again before the reply to this is here.
	l.ledger.park(parked)
	var replies []*redis.Cmd
	for part := range chunks(returned) {
		replies = append(replies, pipe.Eval(ctx, giveBackScript, []string{l.stream}, l.giveBack(part)...))
	}
	return func() {
		l.ledger.settle(ended)
		l.ledger.back(ended, parked)
		for _, r := range replies {
			gone, _ := r.Int64() // an error is one that execute lets pass
			l.lose(gone)
		}
		l.remind(returned)
	}
}

func (l *lane) ack(ctx context.Context, pipe redis.Pipeliner, ids []any) {
	for part := range slices.Chunk(ids, ackSize) {
		if l.owner == "" {
			_ = pipe.Process(ctx, redis.NewIntCmd(ctx, append([]any{"xack", l.stream, l.src.cfg.Group}, part...)...)) // only queues
			continue
		}
		pipe.Eval(ctx, ackScript, l.keys(), append([]any{l.src.cfg.Group, l.src.cfg.Consumer}, part...)...)
	}
}

// execute returns what failed, apart from groups that are gone and streams that are another's: then nothing is pending here that could be settled.
func execute(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, _ := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !isGroupGone(err) && !isFenced(err) {
			return err
		}
	}
	return nil
}

// giveBack returns the arguments of giveBackScript. An entry that has been idle for one lease is delivered again: it is given
// a head start, so that this is the case after o.After.
func (l *lane) giveBack(list []consumer.Outcome) []any {
	args := []any{l.src.cfg.Group, l.src.cfg.Consumer}
	for _, o := range list {
		attempts := o.Attempt
		if o.Kind == consumer.Retry {
			attempts++
		}
		args = append(args, o.Token.(*entry).id, max(0, l.src.cfg.Lease-o.After).Milliseconds(), attempts)
	}
	return args
}

// remind sets the alarm for when list is to be delivered again.
func (l *lane) remind(list []consumer.Outcome) {
	now := time.Now()
	for _, o := range list {
		// A millisecond more, as Redis counts whole ones.
		l.alarm.set(now.Add(min(o.After, l.src.cfg.Lease) + time.Millisecond))
	}
}

// ourPrefix is what the fields begin with that a dead letter has beside those of its entry.
const ourPrefix = "upbeat_"

const (
	longestReason = 1 << 10
	longestStack  = 8 << 10
)

// letter returns the arguments of buryScript: why it is there, and the fields of the entry.
func (l *lane) letter(e *entry, o consumer.Outcome) []any {
	ours := l.death(o)
	args := append([]any{l.src.cfg.Group, l.src.cfg.Consumer, e.id, len(ours)}, ours...)
	for name, value := range e.fields.all() {
		args = append(args, name, value)
	}
	return args
}

// death returns the fields that tell of it.
func (l *lane) death(o consumer.Outcome) []any {
	ours := []any{
		"upbeat_reason", cut(fmt.Sprint(o.Err), longestReason), "upbeat_attempts", o.Attempt,
		"upbeat_group", l.src.cfg.Group, "upbeat_id", o.ID,
	}
	if p, ok := errors.AsType[*consumer.PanicError](o.Err); ok {
		ours = append(ours, "upbeat_stack", cut(string(p.Stack), longestStack))
	}
	return ours
}

func cut(s string, longest int) string { return s[:min(len(s), longest)] }
