package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// batches notes how many commands each pipeline has.
type batches struct {
	mu    sync.Mutex
	sizes []int
}

func (*batches) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*batches) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b *batches) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		b.mu.Lock()
		b.sizes = append(b.sizes, len(cmds))
		b.mu.Unlock()
		return next(ctx, cmds)
	}
}

// increments fills a batch with INCR of so many keys.
func increments(t *testing.T, p redis.Pipeliner, prefix string, n int) []*redis.IntCmd {
	t.Helper()
	cmds := make([]*redis.IntCmd, n)
	for i := range cmds {
		cmds[i] = p.Incr(t.Context(), fmt.Sprint(prefix, i))
	}
	return cmds
}

// ran is how often INCR ran for each of the keys.
func ran(t *testing.T, rdb redis.UniversalClient, prefix string, n int) []int {
	t.Helper()
	counts := make([]int, n)
	for i := range counts {
		counts[i], _ = rdb.Get(t.Context(), fmt.Sprint(prefix, i)).Int()
	}
	return counts
}

func asBatchError(t *testing.T, err error) *pool.BatchError {
	t.Helper()
	e, ok := errors.AsType[*pool.BatchError](err)
	require.True(t, ok, "%T %v", err, err)
	return e
}

func TestPipeline_Chunks(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	seen := &batches{}
	c.Standard().AddHook(seen)
	for name, tt := range map[string]struct {
		chunk int
		want  []int
	}{
		"default":     {c.Pipeline().Chunk, []int{1000, 1000, 500}},
		"exactly one": {2500, []int{2500}},
		"all":         {-1, []int{2500}},
		"one left":    {2499, []int{2499, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			seen.sizes = nil
			p := c.Pipeline()
			p.Chunk = tt.chunk
			pipe := p.Pipeline()
			cmds := increments(t, pipe, k+name, 2500)
			all, err := pipe.Exec(t.Context())
			require.NoError(t, err)
			require.Equal(t, tt.want, seen.sizes)
			require.Zero(t, pipe.Len(), "ready for the next")
			require.Len(t, all, 2500)
			for i, cmd := range cmds {
				require.Same(t, cmd, all[i])
				require.Equal(t, int64(1), cmd.Val())
			}
		})
	}
}

func TestPipeline_HandsOutWhatGoRedisDoes(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	var client interface {
		Pipeline() redis.Pipeliner
		Pipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error)
		TxPipeline() redis.Pipeliner
		TxPipelined(ctx context.Context, fill func(redis.Pipeliner) error) ([]redis.Cmder, error)
	} = c.Pipeline()
	fill := func(p redis.Pipeliner) error {
		p.Set(t.Context(), k, "v", time.Minute)
		_, err := p.Pipelined(t.Context(), func(inner redis.Pipeliner) error {
			inner.Get(t.Context(), k)
			return nil
		})
		return err
	}
	for name, run := range map[string]func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error){
		"Pipelined": client.Pipelined, "TxPipelined": client.TxPipelined,
		"nested":             client.Pipeline().Pipelined,
		"nested transaction": client.TxPipeline().TxPipelined,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(t.Context(), fill)
			require.NoError(t, err)
			cmds, err := run(t.Context(), func(redis.Pipeliner) error { return nil })
			require.NoError(t, err)
			require.Empty(t, cmds)
			_, err = run(t.Context(), func(p redis.Pipeliner) error {
				p.Del(t.Context(), k)
				return errStop
			})
			require.ErrorIs(t, err, errStop)
			require.Equal(t, "v", c.Standard().Get(t.Context(), k).Val(), "nothing was sent")
		})
	}
}

func TestPipeline_Refusals(t *testing.T) {
	t.Parallel()
	c, k := open(t, shared(t)), key(t)
	require.NoError(t, c.Standard().Set(t.Context(), k, "text", time.Minute).Err())
	absent := func(p redis.Pipeliner) { p.Get(t.Context(), k+":absent") }
	wrong := func(p redis.Pipeliner) { p.LPush(t.Context(), k, 1) }
	unknown := func(p redis.Pipeliner) { p.Do(t.Context(), "NONSENSE", "secret argument") }
	right := func(p redis.Pipeliner) { p.Incr(t.Context(), k+":count") }

	for name, tt := range map[string]struct {
		fill    []func(redis.Pipeliner)
		tx      bool
		refused int
		counted string
	}{
		"in between":                {[]func(redis.Pipeliner){absent, wrong, right}, false, 1, "1"},
		"in a transaction":          {[]func(redis.Pipeliner){absent, wrong, right}, true, 1, "1"},
		"two":                       {[]func(redis.Pipeliner){wrong, right, unknown}, false, 2, "1"},
		"transaction that can't be": {[]func(redis.Pipeliner){right, unknown, right}, true, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.Standard().Del(t.Context(), k+":count")
			pipelined := c.Pipeline().Pipelined
			if tt.tx {
				pipelined = c.Pipeline().TxPipelined
			}
			_, err := pipelined(t.Context(), func(p redis.Pipeliner) error {
				for _, fill := range tt.fill {
					fill(p)
				}
				return nil
			})
			e := asBatchError(t, err)
			require.Len(t, e.Refused, tt.refused)
			require.Empty(t, e.Unknown)
			require.Empty(t, e.NotSent)
			require.NotErrorIs(t, err, redis.Nil, "a missing key hides no failure")
			require.ErrorContains(t, err, fmt.Sprintf("of a batch of 3, %d were refused", tt.refused))
			require.NotContains(t, err.Error(), "secret argument")
			require.Equal(t, tt.counted, c.Standard().Get(t.Context(), k+":count").Val())
		})
	}
	t.Run("only a missing key", func(t *testing.T) {
		pipe := c.Pipeline().Pipeline()
		absent(pipe)
		right(pipe)
		_, err := pipe.Exec(t.Context())
		require.ErrorIs(t, err, redis.Nil)
	})
}

func TestPipeline_LostReplies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		begin            func(pool.Pipeline) redis.Pipeliner
		unknown, notSent int
		ran              []int
	}{
		"chunks":      {pool.Pipeline.Pipeline, 2, 3, []int{1, 1, 0, 0, 0}},
		"transaction": {pool.Pipeline.TxPipeline, 5, 0, []int{1, 1, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := testserver.StartProxy(t, sharedAddr(t))
			c, k := open(t, pool.Config{Addr: proxy.Addr(), Profile: pool.Profile{SocketTimeout: 200 * time.Millisecond}}), key(t)
			plain := open(t, shared(t)).Standard()
			warmUp(t, c, 4) // a repetition would find a connection to run on
			p := c.Pipeline()
			p.Chunk = 2
			proxy.DropReplies()
			pipe := tt.begin(p)
			cmds := increments(t, pipe, k, 5)
			_, err := pipe.Exec(t.Context())
			e := asBatchError(t, err)
			require.Empty(t, e.Refused)
			require.Len(t, e.Unknown, tt.unknown)
			require.Len(t, e.NotSent, tt.notSent)
			for i, cmd := range cmds {
				require.Error(t, cmd.Err())
				require.Equal(t, i >= tt.unknown, errors.Is(cmd.Err(), pool.ErrNotSent), cmd.Err())
			}
			require.Equal(t, tt.ran, ran(t, plain, k, 5))

			if len(e.NotSent) == 0 {
				return
			}
			proxy.Pass()
			warmUp(t, c, 2)
			proxy.DropReplies()
			again := c.Pipeline().Pipeline()
			require.NoError(t, again.BatchProcess(t.Context(), e.NotSent...))
			_, err = again.Exec(t.Context())
			require.Len(t, asBatchError(t, err).Unknown, tt.notSent, "now they were sent")
			require.Equal(t, []int{1, 1, 1, 1, 1}, ran(t, plain, k, 5))
		})
	}
}

func TestPipeline_NotSent(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c, k := open(t, pool.Config{Addr: proxy.Addr(), Profile: pool.Profile{MaxConnections: 1}}), key(t)
	plain := open(t, shared(t)).Standard()
	exec := func(ctx context.Context, t *testing.T, p pool.Pipeline) error {
		t.Helper()
		pipe := p.Pipeline()
		increments(t, pipe, k, 3)
		_, err := pipe.Exec(ctx)
		e := asBatchError(t, err)
		require.Len(t, e.NotSent, 3, err)
		require.Empty(t, e.Unknown)
		return err
	}
	t.Run("ctx has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errStop)
		require.ErrorIs(t, exec(ctx, t, c.Pipeline()), errStop)
	})
	t.Run("no connection came free", func(t *testing.T) {
		require.NoError(t, c.Standard().(*redis.Client).Watch(t.Context(), func(tx *redis.Tx) error {
			require.NoError(t, tx.Ping(t.Context()).Err()) // takes the one
			p := c.Pipeline()
			p.Timeout = 50 * time.Millisecond
			require.ErrorIs(t, exec(t.Context(), t, p), context.DeadlineExceeded)
			return nil
		}))
	})
	t.Run("nobody listens", func(t *testing.T) {
		proxy.Refuse()
		_ = exec(t.Context(), t, c.Pipeline())
		proxy.Pass()
	})
	require.Equal(t, []int{0, 0, 0}, ran(t, plain, k, 3))
	t.Run("closed", func(t *testing.T) {
		other := open(t, shared(t))
		require.NoError(t, other.Close())
		require.ErrorIs(t, exec(t.Context(), t, other.Pipeline()), redis.ErrClosed)
	})
}

func TestPipeline_TimeoutIsForTheWhole(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c, k := open(t, pool.Config{Addr: proxy.Addr()}), key(t)
	proxy.BlackHole()
	p := c.Pipeline()
	p.Timeout = 100 * time.Millisecond
	pipe := p.Pipeline()
	increments(t, pipe, k, 3)
	begin := time.Now()
	_, err := pipe.Exec(t.Context())
	require.Less(t, time.Since(begin), 5*time.Second, "SocketTimeout is 30s")
	require.Len(t, asBatchError(t, err).Unknown, 3)
	proxy.Pass()

	proxy.Latency(40 * time.Millisecond)
	p.Chunk = 1
	pipe = p.Pipeline()
	increments(t, pipe, k, 10)
	_, err = pipe.Exec(t.Context())
	require.NotEmpty(t, asBatchError(t, err).NotSent, "each chunk alone would have been in time")
}
