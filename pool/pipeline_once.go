package pool

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// sendOnce keeps a Cluster's client from repeating all commands of a node because the first of them got an answer like TRYAGAIN: the
// others have run. MOVED and ASK are still followed, command by command.
type sendOnce struct{}

func (sendOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (sendOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (sendOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		marked, sealed := make([]onceCmd, len(cmds)), make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			marked[i].Cmder = cmd
			sealed[i] = &marked[i]
		}
		return next(ctx, sealed)
	}
}

type onceCmd struct{ redis.Cmder }

func (*onceCmd) NoRetry() bool { return true }
