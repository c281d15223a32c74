package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func tasksOf(t *testing.T, c *pool.Clients) pool.Tasks {
	t.Helper()
	tasks := c.Tasks()
	tasks.Prefix = strings.NewReplacer("{", "", "}", "").Replace(key(t)) // braces would hide what the keys' own do
	return tasks
}

func asStale(t *testing.T, err error) *pool.StaleError {
	t.Helper()
	e, ok := errors.AsType[*pool.StaleError](err)
	require.True(t, ok, "%T %v", err, err)
	return e
}

func TestTasks_Beats(t *testing.T) {
	t.Parallel()
	tasks := tasksOf(t, open(t, shared(t)))
	alive := func(worker string) bool {
		yes, err := tasks.Alive(t.Context(), worker)
		require.NoError(t, err)
		return yes
	}
	require.False(t, alive("w1"))
	require.NoError(t, tasks.Beat(t.Context(), "w1", time.Minute))
	require.NoError(t, tasks.Beat(t.Context(), "w2", 50*time.Millisecond))
	require.True(t, alive("w1"))
	require.Eventually(t, func() bool { return !alive("w2") }, 10*time.Second, 10*time.Millisecond)
	require.True(t, alive("w1"))
	require.NoError(t, tasks.Leave(t.Context(), "w1"))
	require.NoError(t, tasks.Leave(t.Context(), "w1"), "again")
	require.False(t, alive("w1"))
}

func TestTasks_Transition(t *testing.T) {
	t.Parallel()
	c := open(t, shared(t))
	tasks := tasksOf(t, c)
	step := func(s pool.Transition) (pool.Task, error) {
		s.Task = "7"
		return tasks.Transition(t.Context(), s)
	}
	unknown, err := tasks.State(t.Context(), "7")
	require.NoError(t, err)
	require.Zero(t, unknown)

	queued, err := step(pool.Transition{To: "queued"})
	require.NoError(t, err)
	_, err = step(pool.Transition{To: "queued"})
	require.Equal(t, queued, asStale(t, err).Now, "it is there already")

	running, err := step(pool.Transition{From: "queued", To: "running", Token: pool.AnyToken, Owner: "w1"})
	require.NoError(t, err)
	require.Equal(t, pool.Task{State: "running", Token: running.Token, Owner: "w1"}, running)
	require.Greater(t, running.Token, queued.Token)
	known, err := tasks.State(t.Context(), "7")
	require.NoError(t, err)
	require.Equal(t, running, known)

	// w1 was taken for dead, and comes back.
	taken, err := step(pool.Transition{From: "running", To: "running", Token: running.Token, Owner: "w2"})
	require.NoError(t, err)
	require.Greater(t, taken.Token, running.Token)
	late := pool.Transition{From: "running", To: "done", Token: running.Token, Owner: "w1"}
	_, err = step(late)
	late.Task = "7"
	require.Equal(t, &pool.StaleError{Transition: late, Now: taken}, asStale(t, err))
	require.EqualError(t, err, fmt.Sprintf(`pool: task "7" is "running" with token %d of "w2": want "running" with token %d for the transition to "done"`,
		taken.Token, running.Token))

	done, err := step(pool.Transition{From: "running", To: "done", Token: taken.Token, Keep: 50 * time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now, err := tasks.State(t.Context(), "7")
		return err == nil && now == pool.Task{}
	}, 10*time.Second, 10*time.Millisecond, "forgotten")
	again, err := step(pool.Transition{To: "queued", Keep: time.Minute})
	require.NoError(t, err)
	require.Greater(t, again.Token, done.Token, "it grows beyond the end")
	_, err = step(pool.Transition{From: "queued", To: "running", Token: again.Token})
	require.NoError(t, err)
	require.Equal(t, time.Duration(-1), c.Standard().TTL(t.Context(), tasks.Prefix+":task:{7}").Val(), "kept for ever again")
}

func TestTasks_OneOfManyClaims(t *testing.T) {
	t.Parallel()
	tasks := tasksOf(t, open(t, shared(t)))
	_, err := tasks.Transition(t.Context(), pool.Transition{Task: "7", To: "queued"})
	require.NoError(t, err)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, err := tasks.Transition(t.Context(), pool.Transition{
				Task: "7", From: "queued", To: "running", Token: pool.AnyToken, Owner: fmt.Sprint("w", i),
			})
			if err == nil {
				won.Add(1)
			} else {
				_ = asStale(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), won.Load())
}

func TestTasks_SameRequestIsOneStep(t *testing.T) {
	t.Parallel()
	tasks := tasksOf(t, open(t, shared(t)))
	step := func(from, to, request string) (pool.Task, error) {
		return tasks.Transition(t.Context(), pool.Transition{Task: "7", From: from, To: to, Token: pool.AnyToken, Request: request})
	}
	first, err := step("", "a", "r0")
	require.NoError(t, err)
	again, err := step("", "a", "r0")
	require.NoError(t, err)
	require.Equal(t, first, again)

	other, err := tasks.Transition(t.Context(), pool.Transition{Task: "8", To: "a", Request: "r0"})
	require.NoError(t, err, "another task's request")
	require.NotEqual(t, first.Token, other.Token)

	states := []string{"a", "b"}
	for i := 1; i <= 7; i++ {
		_, err = step(states[(i+1)%2], states[i%2], fmt.Sprint("r", i))
		require.NoError(t, err)
	}
	_, err = step("b", "a", "r7")
	_ = asStale(t, err)
	// Steps that would fit once more, as the task went round in circles.
	for _, repeated := range [][3]string{{"b", "a", "r2"}, {"b", "a", "r6"}} {
		_, err = step(repeated[0], repeated[1], repeated[2])
		_ = asStale(t, err)
	}
	for i := range 3 {
		_, err = step("b", "b", "")
		require.NoError(t, err, "each call without a name is a step of its own: %d", i)
	}
	_, err = step("b", "a", "r2")
	require.NoError(t, err, "eight are remembered")
}

// A worker whose connections break all the time makes each step once, and is never refused.
func TestTasks_BrokenConnections(t *testing.T) {
	t.Parallel()
	proxy := testserver.StartProxy(t, sharedAddr(t))
	c := open(t, pool.Config{Addr: proxy.Addr(), Profile: pool.Profile{SocketTimeout: 100 * time.Millisecond, RetryBudget: -1}})
	tasks, plain := tasksOf(t, c), open(t, shared(t)).Tasks()
	plain.Prefix = tasks.Prefix
	// The script is there, so that the first try of each call is the call itself.
	_, err := tasks.AddOnce(t.Context(), "warm", "up", 1, time.Minute)
	require.NoError(t, err)
	_, err = tasks.Transition(t.Context(), pool.Transition{Task: "warm", To: "up"})
	require.NoError(t, err)

	twice := func(call func() error) {
		warmUp(t, c, 2)
		proxy.DropReplies()
		require.Error(t, call())
		proxy.Pass()
		require.NoError(t, call())
	}
	task := pool.Task{}
	for i := range 6 {
		step := pool.Transition{Task: "7", From: task.State, To: fmt.Sprint(i), Token: task.Token, Owner: "w", Request: fmt.Sprint(i)}
		var next pool.Task
		twice(func() (err error) { next, err = tasks.Transition(t.Context(), step); return err })
		require.Greater(t, next.Token, task.Token)
		task = next
		twice(func() error { _, err := tasks.AddOnce(t.Context(), "done", fmt.Sprint(i), 2, time.Minute); return err })
	}
	total, err := plain.Total(t.Context(), "done")
	require.NoError(t, err)
	require.Equal(t, int64(12), total)
	now, err := plain.State(t.Context(), "7")
	require.NoError(t, err)
	require.Equal(t, task, now)
}

func TestTasks_LostRepliesAreAskedForAgain(t *testing.T) {
	t.Parallel()
	plain := tasksOf(t, open(t, shared(t)))
	state := func() pool.Task {
		task, err := plain.State(t.Context(), "t")
		require.NoError(t, err)
		return task
	}
	alive := func() bool {
		is, err := plain.Alive(t.Context(), "w")
		require.NoError(t, err)
		return is
	}
	total := func(counter string) int64 {
		n, err := plain.Total(t.Context(), counter)
		require.NoError(t, err)
		return n
	}
	for _, tt := range []struct {
		name string
		call func(context.Context, pool.Tasks) error
		ran  func() bool
		lost bool // the caller is told that nobody knows
	}{
		{"Beat", func(ctx context.Context, tasks pool.Tasks) error { return tasks.Beat(ctx, "w", time.Minute) }, alive, false},
		{"Leave", func(ctx context.Context, tasks pool.Tasks) error { return tasks.Leave(ctx, "w") }, func() bool { return !alive() }, false},
		{"Transition", func(ctx context.Context, tasks pool.Tasks) error {
			task, err := tasks.Transition(ctx, pool.Transition{Task: "t", To: "a"})
			require.Equal(t, task, state(), "it is made once")
			return err
		}, func() bool { return state().State == "a" }, false},
		{"AddOnce", func(ctx context.Context, tasks pool.Tasks) error {
			_, err := tasks.AddOnce(ctx, "once", "id", 1, 2*time.Minute)
			require.EqualValues(t, 1, total("once"))
			return err
		}, func() bool { return total("once") == 1 }, false},
		{"AddOnce, soon forgotten", func(ctx context.Context, tasks pool.Tasks) error {
			_, err := tasks.AddOnce(ctx, "soon", "id", 1, time.Millisecond)
			return err
		}, func() bool { return total("soon") == 1 }, true},
		{"Add", func(ctx context.Context, tasks pool.Tasks) error {
			_, err := tasks.Add(ctx, "n", 1)
			return err
		}, func() bool { return total("n") == 1 }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proxy := testserver.StartProxy(t, sharedAddr(t))
			c := open(t, pool.Config{Addr: proxy.Addr()})
			tasks := c.Tasks()
			tasks.Prefix = plain.Prefix
			_, err := tasks.AddOnce(t.Context(), "warm", "up", 1, time.Minute) // so that the scripts are there
			require.NoError(t, err)
			_, err = tasks.Transition(t.Context(), pool.Transition{Task: tt.name, To: "up"})
			require.NoError(t, err)
			proxy.DropReplies()
			var wg sync.WaitGroup
			wg.Go(func() {
				require.Eventually(t, tt.ran, 10*time.Second, time.Millisecond)
				proxy.Pass() // and resets the connection whose reply was dropped
			})
			err = tt.call(t.Context(), tasks)
			wg.Wait()
			_, lost := errors.AsType[*pool.LostReplyError](err)
			require.Equal(t, tt.lost, lost, err)
			require.Equal(t, tt.lost, err != nil, err)
			require.True(t, tt.ran())
		})
	}
}

func TestTasks_Counters(t *testing.T) {
	t.Parallel()
	c := open(t, shared(t))
	tasks := tasksOf(t, c)
	for _, want := range []int64{5, 3} {
		got, err := tasks.Add(t.Context(), "n", map[int64]int64{5: 5, 3: -2}[want])
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	once := func(id string, delta int64, remember time.Duration) int64 {
		got, err := tasks.AddOnce(t.Context(), "n", id, delta, remember)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, int64(10), once("a", 7, time.Minute))
	require.Equal(t, int64(10), once("a", 7, time.Minute))
	require.Equal(t, int64(11), once("b", 1, 50*time.Millisecond))
	require.Eventually(t, func() bool { return once("b", 1, 50*time.Millisecond) > 11 }, 10*time.Second, 60*time.Millisecond, "forgotten")

	none, err := tasks.Total(t.Context(), "none")
	require.NoError(t, err)
	require.Zero(t, none)
	const large = int64(1)<<62 + 1
	got, err := tasks.AddOnce(t.Context(), "large", "a", large, time.Minute)
	require.NoError(t, err)
	require.Equal(t, large, got, "no digit is lost")
	_, err = tasks.AddOnce(t.Context(), "large", "b", large, time.Minute)
	require.ErrorContains(t, err, `pool: counter "large": `)
	require.Zero(t, c.Standard().Exists(t.Context(), tasks.Prefix+":count:{large}:once:b").Val(), "what failed may be tried again")
}

// process notes which commands are sent.
type process struct {
	batches
	names []string
}

func (p *process) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		p.mu.Lock()
		p.names = append(p.names, cmd.Name())
		p.mu.Unlock()
		return next(ctx, cmd)
	}
}

func TestTasks_OneRoundTrip(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{Addr: srv.Addr()})
	seen := &process{}
	c.Standard().AddHook(seen)
	for i, want := range []string{"evalsha eval", "evalsha", "evalsha eval"} {
		if i == 2 {
			srv.Restart() // which forgets scripts
		}
		seen.names = nil
		_, err := c.Tasks().Transition(t.Context(), pool.Transition{Task: fmt.Sprint(i), To: "a"})
		require.NoError(t, err)
		require.Equal(t, want, strings.Replace(strings.Join(seen.names, " "), "hello ", "", 1))
	}
}

func TestTasks_BadArguments(t *testing.T) {
	t.Parallel()
	tasks := open(t, shared(t)).Tasks()
	ctx := t.Context()
	step := func(change func(*pool.Transition)) error {
		s := pool.Transition{Task: "t", From: "a", To: "b", Token: 1}
		change(&s)
		_, err := tasks.Transition(ctx, s)
		return err
	}
	for want, err := range map[string]error{
		`worker is "": want 1 to 512 bytes`:     tasks.Beat(ctx, "", time.Second),
		`ttl is 0s: want 1ms or more`:           tasks.Beat(ctx, "w", 0),
		`worker is "}a"`:                        tasks.Leave(ctx, "}a"),
		`worker is "{"`:                         func() error { _, err := tasks.Alive(ctx, "{"); return err }(),
		`task is "a\nb"`:                        func() error { _, err := tasks.State(ctx, "a\nb"); return err }(),
		`counter is ""`:                         func() error { _, err := tasks.Total(ctx, ""); return err }(),
		`counter is "xxxx`:                      func() error { _, err := tasks.Add(ctx, strings.Repeat("x", 513), 1); return err }(),
		`remember is -1s`:                       func() error { _, err := tasks.AddOnce(ctx, "c", "i", 1, -time.Second); return err }(),
		`id is ""`:                              func() error { _, err := tasks.AddOnce(ctx, "c", "", 1, time.Second); return err }(),
		`Transition.Task is ""`:                 step(func(s *pool.Transition) { s.Task = "" }),
		`Transition.To is ""`:                   step(func(s *pool.Transition) { s.To = "" }),
		`Transition.Token is 0 from state "a"`:  step(func(s *pool.Transition) { s.Token = 0 }),
		`Transition.Token is -2 from state "a"`: step(func(s *pool.Transition) { s.Token = -2 }),
		`Transition.Token is 1 from state ""`:   step(func(s *pool.Transition) { s.From = "" }),
		`Transition.Request is "a\nb"`:          step(func(s *pool.Transition) { s.Request = "a\nb" }),
		`Transition.Owner is "\r"`:              step(func(s *pool.Transition) { s.Owner = "\r" }),
		`Transition.Keep is 1ns`:                step(func(s *pool.Transition) { s.Keep = 1 }),
		`worker is "a\x00b"`:                    tasks.Beat(ctx, "a\x00b", time.Second),
		`a Tasks without a client`:              pool.Tasks{Prefix: "p"}.Beat(ctx, "w", time.Second),
	} {
		require.ErrorContains(t, err, "pool: "+want)
	}
	for name, prefix := range map[string]string{
		"empty": "", "brace": "a{b", "other brace": "a}b", "line break": "a\nb", "NUL": "a\x00b", "control": "a\u0085b", "long": strings.Repeat("x", 513),
	} {
		t.Run("Prefix: "+name, func(t *testing.T) {
			bad := tasks
			bad.Prefix = prefix
			_, aliveErr := bad.Alive(ctx, "w")
			_, stepErr := bad.Transition(ctx, pool.Transition{Task: "t", To: "a"})
			_, stateErr := bad.State(ctx, "t")
			_, addErr := bad.Add(ctx, "c", 1)
			_, onceErr := bad.AddOnce(ctx, "c", "i", 1, time.Minute)
			_, totalErr := bad.Total(ctx, "c")
			for _, err := range []error{bad.Beat(ctx, "w", time.Second), bad.Leave(ctx, "w"), aliveErr, stepErr, stateErr, addErr, onceErr, totalErr} {
				require.ErrorContains(t, err, "pool: Tasks.Prefix is ")
			}
		})
	}
}

func TestTasks_ForeignKey(t *testing.T) {
	t.Parallel()
	c := open(t, shared(t))
	tasks := tasksOf(t, c)
	require.NoError(t, c.Standard().Set(t.Context(), tasks.Prefix+":task:{7}", "x", time.Minute).Err())
	_, err := tasks.Transition(t.Context(), pool.Transition{Task: "7", To: "a"})
	require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"), err)
	require.NoError(t, c.Standard().HSet(t.Context(), tasks.Prefix+":task:{8}", "state", "a", "token", "many").Err())
	_, err = tasks.State(t.Context(), "8")
	require.ErrorContains(t, err, `pool: task "8": its key holds no token`)
}
