package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/examples/internal/exetest"
	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestMain(m *testing.M) { exetest.Main(m) }

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exetest.Path(t), args...)
	cmd.Env = append(os.Environ(), "REDIS_URL=", "HEARTBEAT_INTERVAL=")
	return cmd
}

func TestMain_BeatsServesAndSaysGoodbye(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	cmd := command(t, "-service", "geocoding", "-redis", server.URL(), "-listen", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	rest := awaitLine(t, stderr, "services: http://")
	address, _, _ := strings.Cut(rest, "/")
	response, err := http.Get("http://" + address + "/livez")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)

	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	requirePhase(t, rdb, "geocoding_service", heartbeat.PhaseRunning)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	requirePhase(t, rdb, "geocoding_service", heartbeat.PhaseStopped)
}

// awaitLine returns what follows the prefix in the first line with it. What comes after that is thrown away.
func awaitLine(t *testing.T, r io.Reader, prefix string) string {
	t.Helper()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), prefix); found {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return rest
		}
	}
	require.Fail(t, "the output has ended", "without %q", prefix)
	return ""
}

// requirePhase waits until the beat that Redis keeps of a service says so.
func requirePhase(t *testing.T, rdb *redis.Client, service string, phase heartbeat.Phase) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		keys, err := rdb.Keys(t.Context(), "health:last:"+service+":*").Result()
		require.NoError(c, err)
		require.Len(c, keys, 1)
		payload, err := rdb.Get(t.Context(), keys[0]).Bytes()
		require.NoError(c, err)
		beat, err := heartbeat.ParseBeat(payload)
		require.NoError(c, err)
		require.Equal(c, phase, beat.Phase)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestMain_EmbeddedRedis(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	cmd := command(t)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	addr := awaitLine(t, stderr, "services: Redis is embedded, and ends with this program: redis://")
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	requirePhase(t, rdb, "tracker_fetcher", heartbeat.PhaseRunning)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}

func TestMain_BadStart(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":        {"-wrong"},
		"unexpected argument": {"now"},
		"unknown service":     {"-service", "other"},
		"no duration":         {"-hang", "soon"},
		"negative duration":   {"-hang", "-3s"},
		"not a URL":           {"-redis", "://"},
		"no Redis there":      {"-redis", "redis://:s3cret@127.0.0.1:1"},
		"no address":          {"-listen", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.Error(t, cmd.Run())
			require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s", &stderr)
			require.Empty(t, stdout.String())
			lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
			require.Regexp(t, `\Aservices: .{10,400}\z`, lines[len(lines)-1], "one clear line")
			require.NotContains(t, stderr.String(), "s3cret")
		})
	}
}
