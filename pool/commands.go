package pool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// The list and sorted set commands are built here because go-redis rounds their timeouts up to whole seconds.

var (
	errNoKeys   = errors.New("pool: no keys: want one or more")
	errNoBlock  = errors.New("pool: Block is negative: want 0 or more here, and Standard for reads that don't wait")
	errNoStream = errors.New("pool: no Streams: want names, then as many ids")
)

// BLPop removes and returns the first element of the first list that has one, as the list's name and the element. In a Cluster all keys are to be in
// one slot. See [Blocking] for timeout and ctx; BLMove is the one that loses nothing.
func (b *Blocking) BLPop(ctx context.Context, timeout time.Duration, keys ...string) ([]string, error) {
	return b.pop(ctx, "blpop", timeout, keys)
}

// BRPop is [Blocking.BLPop] from the other end.
func (b *Blocking) BRPop(ctx context.Context, timeout time.Duration, keys ...string) ([]string, error) {
	return b.pop(ctx, "brpop", timeout, keys)
}

func (b *Blocking) pop(ctx context.Context, name string, timeout time.Duration, keys []string) (popped []string, err error) {
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	err = b.do(ctx, timeout, keys[0], func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		cmd := redis.NewStringSliceCmd(ctx, popArgs(name, keys, block)...)
		err := conn.Process(ctx, cmd)
		popped = cmd.Val()
		return err
	})
	return popped, err
}

// BZPopMin removes and returns the member with the lowest score of the first sorted set that has one. In a Cluster all keys are to be in one slot. See
// [Blocking] for timeout and ctx.
func (b *Blocking) BZPopMin(ctx context.Context, timeout time.Duration, keys ...string) (popped *redis.ZWithKey, err error) {
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	err = b.do(ctx, timeout, keys[0], func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		cmd := redis.NewZWithKeyCmd(ctx, popArgs("bzpopmin", keys, block)...)
		err := conn.Process(ctx, cmd)
		popped = cmd.Val()
		return err
	})
	return popped, err
}

func popArgs(name string, keys []string, block time.Duration) []any {
	args := make([]any, 0, len(keys)+2)
	args = append(args, name)
	for _, key := range keys {
		args = append(args, key)
	}
	return append(args, block.Seconds())
}

// BLMove moves an element from one list to another and returns it; from and to are "LEFT" or "RIGHT". An element whose reply is lost with
// its connection is found in destination. In a Cluster both keys are to be in one slot. See [Blocking] for timeout and ctx.
func (b *Blocking) BLMove(ctx context.Context, source, destination, from, to string, timeout time.Duration) (moved string, err error) {
	err = b.do(ctx, timeout, source, func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		cmd := redis.NewStringCmd(ctx, "blmove", source, destination, from, to, block.Seconds())
		err := conn.Process(ctx, cmd)
		moved = cmd.Val()
		return err
	})
	return moved, err
}

// XRead reads from streams; args.Block is the timeout. In a Cluster all streams are to be in one slot. See [Blocking] for timeout
// and ctx.
func (b *Blocking) XRead(ctx context.Context, args *redis.XReadArgs) (streams []redis.XStream, err error) {
	if args == nil {
		return nil, errNoStream
	}
	if err := checkRead(args.Block, args.Streams); err != nil {
		return nil, err
	}
	once := *args
	err = b.do(ctx, args.Block, args.Streams[0], func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		if err := pinLatest(ctx, conn, &once); err != nil {
			return err
		}
		once.Block = block
		var err error
		streams, err = conn.XRead(ctx, &once).Result()
		return err
	})
	return streams, err
}

// pinLatest puts the id that "$" means now in its place. One wait may be several commands: what comes between two of them would
// be missed otherwise.
func pinLatest(ctx context.Context, conn *redis.Conn, args *redis.XReadArgs) error {
	streams := args.Streams
	if args.ID != "" {
		streams = append(slices.Clone(streams), slices.Repeat([]string{args.ID}, len(streams))...)
	}
	names := len(streams) / 2
	if !slices.Contains(streams[names:], "$") {
		return nil
	}
	streams = slices.Clone(streams)
	for i, id := range streams[names:] {
		if id != "$" {
			continue
		}
		last, err := conn.XRevRangeN(ctx, streams[i], "+", "-", 1).Result()
		if err != nil {
			return err
		}
		streams[names+i] = "0-0"
		if len(last) > 0 {
			streams[names+i] = last[0].ID
		}
	}
	args.Streams, args.ID = streams, ""
	return nil
}

// XReadGroup reads from streams as a member of a consumer group; args.Block is the timeout. Entries whose reply is lost with its
// connection are found pending. In a Cluster all streams are to be in one slot. See [Blocking] for timeout and ctx.
func (b *Blocking) XReadGroup(ctx context.Context, args *redis.XReadGroupArgs) (streams []redis.XStream, err error) {
	if args == nil {
		return nil, errNoStream
	}
	if err := checkRead(args.Block, args.Streams); err != nil {
		return nil, err
	}
	once := *args
	err = b.do(ctx, args.Block, args.Streams[0], func(ctx context.Context, conn *redis.Conn, block time.Duration) error {
		once.Block = block
		var err error
		streams, err = conn.XReadGroup(ctx, &once).Result()
		return err
	})
	return streams, err
}

func checkRead(block time.Duration, streams []string) error {
	switch {
	case block < 0:
		return errNoBlock
	case len(streams) == 0:
		return errNoStream
	}
	return nil
}
