package pool

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redisonce"
)

// sendOnce keeps a Cluster's client from repeating all commands of a node because the first of them got an answer like TRYAGAIN: the
// others have run. MOVED and ASK are still followed, command by command.
type sendOnce struct{}

func (sendOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (sendOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (sendOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return next(ctx, redisonce.All(cmds))
	}
}
