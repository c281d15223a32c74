package pool_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// scripted is a server that answers each command by name from a list, then with +OK; and counts them.
type scripted struct {
	addr string

	mu      sync.Mutex
	answers map[string][]string
	runs    map[string]int
	end     <-chan struct{}
}

const (
	hangUp        = "" // in place of an answer
	silence       = "silence"
	loadingReply  = "-LOADING Redis is loading the dataset in memory\r\n"
	readOnlyReply = "-READONLY You can't write against a read only replica.\r\n"
	queuedReply   = "+QUEUED\r\n"
)

func script(t *testing.T, answers map[string][]string) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	s := &scripted{addr: ln.Addr().String(), answers: answers, runs: make(map[string]int), end: t.Context().Done()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go speakRESP(c, func(cmd string) string { return s.answer(c, cmd) })
		}
	}()
	return s
}

func (s *scripted) answer(c net.Conn, cmd string) string {
	answer := s.next(cmd)
	switch answer {
	case hangUp:
		_ = c.Close()
	case silence:
		<-s.end
	}
	return answer
}

func (s *scripted) next(cmd string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[cmd]++
	if left := s.answers[cmd]; len(left) > 0 {
		s.answers[cmd] = left[1:]
		return left[0]
	}
	if cmd == "hello" {
		return "-ERR unknown command\r\n"
	}
	return "+OK\r\n"
}

func (s *scripted) count(cmd string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[cmd]
}

func TestRetry(t *testing.T) {
	t.Parallel()
	get := func(ctx context.Context, rdb redis.Cmdable) error { return rdb.Get(ctx, "k").Err() }
	set := func(ctx context.Context, rdb redis.Cmdable) error { return rdb.Set(ctx, "k", "v", 0).Err() }
	tests := map[string]struct {
		run     func(context.Context, redis.Cmdable) error
		ctx     context.Context
		cmd     string
		answers []string
		runs    int
		failure string
	}{
		"a read":              {get, t.Context(), "get", []string{hangUp, hangUp}, 3, ""},
		"a write":             {set, t.Context(), "set", []string{hangUp}, 1, "set may have run or not"},
		"a write, declared":   {set, pool.Idempotent(t.Context()), "set", []string{hangUp, hangUp}, 3, ""},
		"a write, refused":    {set, t.Context(), "set", []string{loadingReply, readOnlyReply}, 3, ""},
		"refused, then lost":  {set, t.Context(), "set", []string{loadingReply, hangUp}, 2, "set may have run or not"},
		"another reply":       {set, pool.Idempotent(t.Context()), "set", []string{"-ERR no\r\n"}, 1, "ERR no"},
		"a read on one's own": {get, t.Context(), "get", []string{"$-1\r\n"}, 1, "redis: nil"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := script(t, map[string][]string{tt.cmd: tt.answers})
			c := open(t, pool.Config{Addr: s.addr})
			err := tt.run(tt.ctx, c.Standard())
			require.Equal(t, tt.runs, s.count(tt.cmd))
			if tt.failure == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.failure)
			}
		})
	}
}

// What fails before the command is sent is repeated whatever the command.
func TestRetry_BrokenHandshakeSentNothing(t *testing.T) {
	t.Parallel()
	s := script(t, map[string][]string{"hello": {"-ERR unknown command\r\n", hangUp, hangUp}})
	c := open(t, pool.Config{Addr: s.addr})
	hold(t, c, func() { require.NoError(t, c.Standard().Set(t.Context(), "k", "v", 0).Err()) })
	require.Equal(t, 1, s.count("set"))
	require.Equal(t, 4, s.count("hello"))
}

func TestRetry_Batches(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		transaction, declared bool
		write                 bool // beside a GET that comes after it
		answers               map[string][]string
		gets                  int
		lost                  bool
	}{
		"reads":                 {answers: map[string][]string{"get": {hangUp}}, gets: 2},
		"with a write":          {write: true, answers: map[string][]string{"set": {hangUp}}, gets: 0, lost: true},
		"with a write, later":   {write: true, answers: map[string][]string{"get": {hangUp}}, gets: 1, lost: false},
		"declared":              {write: true, declared: true, answers: map[string][]string{"get": {hangUp}}, gets: 2},
		"all refused":           {write: true, answers: map[string][]string{"set": {loadingReply}, "get": {loadingReply}}, gets: 2},
		"one refused":           {write: true, answers: map[string][]string{"set": {loadingReply}}, gets: 1},
		"transaction":           {transaction: true, write: true, answers: map[string][]string{"exec": {hangUp}}, gets: 1, lost: true},
		"transaction, declared": {transaction: true, declared: true, write: true, answers: map[string][]string{"exec": {hangUp, "*2\r\n+OK\r\n$1\r\nv\r\n"}}, gets: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.transaction {
				tt.answers["set"], tt.answers["get"] = []string{queuedReply, queuedReply}, []string{queuedReply, queuedReply}
			}
			s := script(t, tt.answers)
			c := open(t, pool.Config{Addr: s.addr})
			ctx := t.Context()
			if tt.declared {
				ctx = pool.Idempotent(ctx)
			}
			run := c.Standard().Pipelined
			if tt.transaction {
				run = c.Standard().TxPipelined
			}
			cmds, err := run(ctx, func(p redis.Pipeliner) error {
				if tt.write {
					p.Set(ctx, "k", "v", 0)
				}
				p.Get(ctx, "k")
				return nil
			})
			require.Equal(t, tt.gets, s.count("get"))
			if tt.lost {
				var lost *pool.LostReplyError
				require.ErrorAs(t, err, &lost)
				require.ErrorAs(t, cmds[0].Err(), &lost)
				return
			}
			if name == "one refused" || name == "with a write, later" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			for _, cmd := range cmds {
				require.NoError(t, cmd.Err())
			}
		})
	}
}

// A transaction's one connection is gone: another one knows nothing of its WATCH.
func TestRetry_NotInsideWatch(t *testing.T) {
	t.Parallel()
	s := script(t, map[string][]string{"get": {hangUp}})
	c := open(t, pool.Config{Addr: s.addr, Profile: pool.Profile{RetryBudget: 10 * time.Second}})
	start := time.Now()
	err := c.Standard().Watch(t.Context(), func(tx *redis.Tx) error {
		require.Error(t, tx.Get(t.Context(), "k").Err())
		return tx.Get(t.Context(), "k").Err()
	}, "k")
	require.Error(t, err)
	require.Less(t, time.Since(start), 5*time.Second, "nor is it tried until the budget is spent")
	require.Equal(t, 1, s.count("get"))
	require.EqualValues(t, 1, c.Stats().Breaker[0].Failures, "one connection failed, once")
}

func TestRetry_Ends(t *testing.T) {
	t.Parallel()
	cut := make([]string, 10_000)
	for name, budget := range map[string]time.Duration{"budget": 400 * time.Millisecond, "context": time.Minute, "off": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := script(t, map[string][]string{"get": cut})
			c := open(t, pool.Config{Addr: s.addr, Profile: pool.Profile{RetryBudget: budget}, Breaker: pool.Breaker{FailureRatio: -1}})
			ctx := t.Context()
			if name == "context" {
				ctx = cancelWhen(t, func() {
					require.Eventually(t, func() bool { return s.count("get") > 3 }, 10*time.Second, time.Millisecond)
				})
			}
			start := time.Now()
			require.Error(t, c.Standard().Get(ctx, "k").Err())
			require.Less(t, time.Since(start), 5*time.Second)
			require.Equal(t, name == "off", s.count("get") == 1)
		})
	}
}

func TestRetry_BudgetBoundsAnAttemptThatHangs(t *testing.T) {
	t.Parallel()
	s := script(t, map[string][]string{"get": {hangUp, silence}})
	c := open(t, pool.Config{Addr: s.addr, Profile: pool.Profile{RetryBudget: 200 * time.Millisecond, SocketTimeout: time.Minute}})
	start := time.Now()
	require.Error(t, c.Standard().Get(t.Context(), "k").Err())
	require.Less(t, time.Since(start), 10*time.Second)
	require.Equal(t, 2, s.count("get"))
}

// What the table of reads says is what Redis says.
func TestRetry_ReadsAreReadOnly(t *testing.T) {
	t.Parallel()
	infos, err := open(t, shared(t)).Standard().Command(t.Context()).Result()
	require.NoError(t, err)
	keyless := []string{"command", "echo", "info", "lastsave", "ping", "role", "time"}
	for name := range pool.Reads {
		info := infos[name]
		require.NotNil(t, info, name)
		require.True(t, info.ReadOnly || slices.Contains(keyless, name), name)
		require.NotContains(t, info.Flags, "write", name)
		require.NotContains(t, info.Flags, "blocking", name)
	}
}

// Whoever met the outage first waits for its end within the budget; whoever comes when the breaker is open doesn't.
func TestRetry_WaitsForAnOpenBreaker(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	c := open(t, pool.Config{
		Addr: srv.Addr(), Profile: pool.Profile{RetryBudget: time.Minute}, Breaker: pool.Breaker{MinCalls: 1, OpenFor: 50 * time.Millisecond},
	})
	srv.Kill()
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, c.Standard().Set(t.Context(), "a", "v", 0).Err()) })
	wg.Go(func() {
		_, err := c.Standard().Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Set(t.Context(), "b", "v", 0); return nil })
		if err != nil { // it may have come second
			require.ErrorIs(t, err, pool.ErrOpen)
		}
	})
	require.Eventually(t, func() bool { return c.Stats().Breaker[0].Failures >= 2 }, 10*time.Second, time.Millisecond)
	start := time.Now()
	require.Eventually(t, func() bool { return errors.Is(c.Standard().Ping(t.Context()).Err(), pool.ErrOpen) }, 10*time.Second, time.Millisecond)
	require.Less(t, time.Since(start), 10*time.Second)
	srv.Start()
	wg.Wait()
}
