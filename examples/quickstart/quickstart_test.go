package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/examples/internal/exetest"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestMain(m *testing.M) { exetest.Main(m) }

// command is a run of the quickstart that doesn't see the servers of this process's environment.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exetest.Path(t), args...)
	cmd.Env = append(os.Environ(), "REDIS_URL=", "DATABASE_URL=", "TMPDIR="+t.TempDir())
	return cmd
}

type summary struct {
	Published, Stored, Duplicates, Lost int
	Services                            []struct{ Service, Instance, State string }
}

// states maps each service to those of its instances.
func (s summary) states() map[string][]string {
	states := map[string][]string{}
	for _, service := range s.Services {
		states[service.Service] = append(states[service.Service], service.State)
	}
	return states
}

func runWithSummary(t *testing.T, cmd *exec.Cmd) summary {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Log(stderr.String()) // shown when something is wrong with the summary
	require.NoError(t, err, "%s", out)
	require.Equal(t, 1, bytes.Count(out, []byte("\n")), "one object on standard output: %s", out)
	var s summary
	require.NoError(t, json.Unmarshal(out, &s), "%s", out)
	return s
}

func (s summary) requireWhole(t *testing.T) {
	t.Helper()
	require.Greater(t, s.Published, 4)
	require.Equal(t, s.Published, s.Stored)
	require.Zero(t, s.Duplicates)
	require.Zero(t, s.Lost)
	require.Equal(t, map[string][]string{
		"tracker_fetcher": {"stopped"}, "geocoding": {"stopped", "stopped"}, "geofence": {"dead"},
	}, s.states())
}

func TestQuickstart_EmbeddedServers(t *testing.T) {
	t.Parallel()
	runWithSummary(t, command(t, "-for", "9s", "-json")).requireWhole(t)
}

func TestQuickstart_RealServers(t *testing.T) {
	t.Parallel()
	redisURL, databaseURL := testserver.RedisURL(t), testserver.DatabaseURL(t)
	cmd := command(t, "-for", "9s", "-json", "-redis", redisURL)
	cmd.Env = append(cmd.Env, "DATABASE_URL="+databaseURL)
	s := runWithSummary(t, cmd)
	s.requireWhole(t)

	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	var rows, distinct int
	err = conn.QueryRow(t.Context(), "select count(*), count(distinct message_id) from health_messages").Scan(&rows, &distinct)
	require.NoError(t, err)
	require.Equal(t, []int{s.Published, s.Published}, []int{rows, distinct})
}

func TestQuickstart_HelpShowsNoPassword(t *testing.T) {
	t.Parallel()
	cmd := command(t, "-h")
	cmd.Env = append(cmd.Env, "REDIS_URL=redis://:s3cret@localhost:6379", "DATABASE_URL=postgres://u:s3cret@localhost/x")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "-database")
	require.NotContains(t, string(out), "s3cret")
}

func TestQuickstart_BadStart(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":         {"-wrong"},
		"unexpected argument":  {"now"},
		"no duration":          {"-for", "soon"},
		"negative duration":    {"-for", "-3s"},
		"too short":            {"-for", "1ms"},
		"not a URL":            {"-redis", "://"},
		"another protocol":     {"-redis", "http://localhost:1"},
		"no Redis there":       {"-redis", "redis://:s3cret@127.0.0.1:1"},
		"no database URL":      {"-database", "localhost"},
		"no database there":    {"-database", "postgres://someone:s3cret@127.0.0.1:1/postgres"},
		"nonsense as database": {"-database", "postgres://%zz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			require.Error(t, err)
			require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s", &stderr)
			require.Empty(t, stdout.String())
			require.Regexp(t, `\Aquickstart: .{10,400}\n\z`, stderr.String(), "one clear line")
			require.NotContains(t, stderr.String(), "s3cret")
		})
	}
}

// buffer may be written and read at the same time.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var startedWorker = regexp.MustCompile(`\(pid (\d+)\) started`)

// startAndWait starts the quickstart and returns when its workers run and the table shows them.
func startAndWait(t *testing.T, args ...string) (cmd *exec.Cmd, out *buffer, workers []int) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	cmd, out = command(t, args...), &buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Count(out.String(), "alive") >= 4 }, 30*time.Second, 20*time.Millisecond, "%s", out)
	for _, match := range startedWorker.FindAllStringSubmatch(out.String(), -1) {
		pid, err := strconv.Atoi(match[1])
		require.NoError(t, err)
		workers = append(workers, pid)
	}
	require.Len(t, workers, 4)
	return cmd, out, workers
}

func requireGone(t *testing.T, pids []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, pid := range pids {
			p, err := os.FindProcess(pid)
			if err == nil && p.Signal(syscall.Signal(0)) == nil {
				return false
			}
		}
		return true
	}, 20*time.Second, 20*time.Millisecond)
}

func TestQuickstart_InterruptEndsItCleanly(t *testing.T) {
	t.Parallel()
	cmd, out, workers := startAndWait(t)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "%s", out)
	require.Contains(t, out.String(), "duplicates 0, lost 0")
	require.NotContains(t, out.String(), "\x1b", "this is no terminal")
	requireGone(t, workers)
}

func TestQuickstart_WorkersEndWithTheirParent(t *testing.T) {
	t.Parallel()
	cmd, _, workers := startAndWait(t)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	requireGone(t, workers)
}

func TestQuickstart_LostStreamIsNoSuccess(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	cmd, out, workers := startAndWait(t, "-redis", server.URL())
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	require.NoError(t, rdb.FlushAll(t.Context()).Err())
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s", out)
	require.Contains(t, out.String(), "Redis has lost the stream")
	requireGone(t, workers)
}

func TestQuickstart_TermLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	cmd, out, workers := startAndWait(t, "-redis", server.URL())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "%s", out)
	requireGone(t, workers)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	streams, err := rdb.Keys(t.Context(), "quickstart:*").Result()
	require.NoError(t, err)
	require.Empty(t, streams)
}
