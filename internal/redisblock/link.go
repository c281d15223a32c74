package redisblock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redislink"
)

// link is one connection, from its dial to its end.
type link struct {
	*redislink.Link
	id int64 // as CLIENT UNBLOCK wants it; 0 where there is no such thing
}

func dial(ctx context.Context, origin *redis.Client, margin time.Duration) (*link, error) {
	l := &link{}
	made, err := redislink.Dial(ctx, origin, margin, func(opt *redis.Options) {
		opt.ReadTimeout = -1 // the deadline of each read is that of its context: block time plus margin
	}, l.identify)
	if err != nil {
		return nil, fmt.Errorf("redisblock: %w", err)
	}
	l.Link = made
	return l, nil
}

// identify learns the connection's id, if both halves of unblocking are allowed: no client has the id 0, so the second does nothing. What a server
// says that doesn't know them differs. One that is merely not ready fails the next command, and is asked again after it.
func (l *link) identify(ctx context.Context, made *redislink.Link) error {
	pipe := made.Conn.Pipeline()
	id := pipe.ClientID(ctx)
	pipe.ClientUnblock(ctx, 0)
	_, err := pipe.Exec(ctx)
	if err == nil {
		l.id = id.Val()
		return nil
	}
	if _, refused := errors.AsType[redis.Error](err); refused && !redis.IsAuthError(err) {
		return nil
	}
	return err
}

func (l *link) longestBlock() time.Duration {
	if l.id == 0 {
		return sliceBlock
	}
	return longestBlock
}
