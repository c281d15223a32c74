package pool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipelineChunk bounds what the server has to hold of the replies to one batch.
const pipelineChunk = 1000

// Pipeline sends batches: many commands for one round trip, with a limit for the whole and an answer to the question which of
// them ran. It has the methods of go-redis's clients for that, and takes its connections from those of Standard. Safe for concurrent use; the
// redis.Pipeliner that it hands out is for one goroutine at a time, and does nothing before its Exec.
//
// Exec returns nil if all commands succeeded, redis.Nil if nothing worse happened than that a key was missing, else a [*BatchError].
// No command is sent twice after it may have run.
//
// Copies may have other limits: set the fields before use.
type Pipeline struct {
	// Timeout is how long one Exec may take in all, the wait for a connection included; the deadline of its context counts if it is
	// earlier. The profile's SocketTimeout bounds each write and read. Default: the profile's BlockingTimeout. Zero or negative: none.
	Timeout time.Duration

	// Chunk is how many commands of a batch are sent at a time, so that the server needn't hold the replies to all of them, and others get
	// the connection in between. Transactions are sent whole. Default: 1,000. Zero or negative: all.
	Chunk int

	rdb redis.UniversalClient
}

// Pipeline is the client for batches and transactions.
func (c *Clients) Pipeline() Pipeline {
	return Pipeline{Timeout: c.cfg.Profile.BlockingTimeout, Chunk: pipelineChunk, rdb: c.standard}
}

// Pipeline returns a batch to be filled. Its commands run in their order, in a Cluster in their order on each node, and others' in
// between. When a chunk was not answered in full, those after it are not sent.
func (p Pipeline) Pipeline() redis.Pipeliner {
	return &batch{Pipeliner: p.rdb.Pipeline(), limits: p}
}

// Pipelined fills a batch and runs it, unless fill fails: then its error is returned and nothing sent. It blocks as Exec does.
func (p Pipeline) Pipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return p.Pipeline().Pipelined(ctx, fill)
}

// TxPipeline returns a transaction to be filled, for MULTI and EXEC: all its commands run and none in between, or, if the server refuses one
// when it is queued, none run at all. One that fails when it runs doesn't undo the others. In a Cluster all keys have to be in one slot:
// otherwise Exec sends nothing, and its error is redis.ErrCrossSlot. What depends on something read before is for Watch of Standard.
func (p Pipeline) TxPipeline() redis.Pipeliner {
	return &batch{Pipeliner: p.rdb.TxPipeline(), limits: p, whole: true}
}

// TxPipelined fills a transaction and runs it, unless fill fails: then its error is returned and nothing sent. It blocks as Exec does.
func (p Pipeline) TxPipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return p.TxPipeline().Pipelined(ctx, fill)
}

// batch is go-redis's, but for the way that it runs.
type batch struct {
	redis.Pipeliner
	limits Pipeline
	whole  bool // a transaction
}

// Exec overrides the one of go-redis.
func (b *batch) Exec(ctx context.Context) ([]redis.Cmder, error) {
	if b.Len() == 0 {
		return nil, nil
	}
	if b.limits.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.limits.Timeout)
		defer cancel()
	}
	if b.whole || b.limits.Chunk <= 0 || b.Len() <= b.limits.Chunk {
		cmds := b.Cmds()
		return cmds, b.limits.verdict(cmds, execWith(ctx, b.Pipeliner))
	}
	cmds := slices.Clone(b.Cmds())
	b.Discard()
	return cmds, b.limits.verdict(cmds, b.inChunks(ctx, cmds))
}

func (b *batch) inChunks(ctx context.Context, cmds []redis.Cmder) error {
	var failed error
	sent := 0
	for chunk := range slices.Chunk(cmds, b.limits.Chunk) {
		if err := b.BatchProcess(ctx, chunk...); err != nil {
			return err
		}
		if err := execWith(ctx, b.Pipeliner); err != nil {
			failed = err
		}
		sent += len(chunk)
		if i := slices.IndexFunc(chunk, unanswered); i >= 0 {
			skip(cmds[sent:], fmt.Errorf("%w: %w", ErrNotSent, chunk[i].Err()))
			break
		}
	}
	return failed
}

// execWith sends what is queued, unless ctx has ended: go-redis would find that out later, and not say that it sent nothing.
func execWith(ctx context.Context, queued redis.Pipeliner) error {
	if ctx.Err() != nil {
		skip(queued.Cmds(), fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx)))
		queued.Discard()
		return ErrNotSent
	}
	// A command may have been left out of another batch. go-redis sets an error only where there is none.
	for _, cmd := range queued.Cmds() {
		cmd.SetErr(nil)
	}
	_, err := queued.Exec(ctx)
	return err
}

func skip(cmds []redis.Cmder, err error) {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

// Pipelined overrides the one of go-redis, which would leave the limits out.
func (b *batch) Pipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	if err := fill(b); err != nil {
		return nil, err
	}
	return b.Exec(ctx)
}

// Pipeline is the batch itself, as in go-redis. So are TxPipeline and TxPipelined.
func (b *batch) Pipeline() redis.Pipeliner { return b }

func (b *batch) TxPipeline() redis.Pipeliner { return b }

func (b *batch) TxPipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return b.Pipelined(ctx, fill)
}
