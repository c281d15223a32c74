// Package redisonce marks Redis commands that a client must send once only: after a lost reply the first may have been executed, and go-redis
// by itself sends any command again, four times in all.
package redisonce

import "github.com/redis/go-redis/v9"

// Cmd is the command that it holds, sent once. Its result and error are read from either.
type Cmd struct{ redis.Cmder }

// NoRetry is asked by the client before it repeats a command, alone, in a pipeline or in a Cluster. MOVED and ASK are followed all the same.
func (Cmd) NoRetry() bool { return true }

// All marks every command of a pipeline.
func All(cmds []redis.Cmder) []redis.Cmder {
	marked, all := make([]Cmd, len(cmds)), make([]redis.Cmder, len(cmds))
	for i, cmd := range cmds {
		marked[i].Cmder = cmd
		all[i] = &marked[i]
	}
	return all
}
