//go:build unix

package testserver_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shirou/gopsutil/v3/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

const (
	childEnv = "UPBEAT_TESTSERVER_CHILD"
	ready    = "servers are ready\n"
)

// TestChild is what the tests below run in a process of its own: it starts servers, then ends as $UPBEAT_TESTSERVER_CHILD says.
func TestChild(t *testing.T) {
	end, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	testserver.RedisURL(t)
	testserver.StartRedis(t, testserver.RedisConfig{}).Pause()
	testserver.StartProxy(t, "127.0.0.1:1")
	if end == "block" {
		startPostgresServers(t)
	}
	_, err := os.Stdout.WriteString(ready)
	require.NoError(t, err)
	switch end {
	case "panic":
		panic("this is expected")
	case "exit":
		os.Exit(3) //nolint:forbidigo // one of the ways that a test process ends
	case "block", "interrupt":
		select {}
	}
}

// startPostgresServers leaves one dead, one paused and one at work, the last two with clients.
func startPostgresServers(t *testing.T) {
	t.Helper()
	testserver.StartPostgres(t, testserver.PostgresConfig{}).Kill()
	paused := testserver.StartPostgres(t, testserver.PostgresConfig{})
	for _, dsn := range []string{paused.DSN(), testserver.DatabaseURL(t)} {
		_, err := pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
	}
	paused.Pause()
}

// child prepares a process that runs TestChild in an otherwise empty temporary folder.
func child(t *testing.T, end string, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755), "the account of Postgres must pass through")
	cmd = exec.Command(os.Args[0], append([]string{"-test.run=^TestChild$"}, args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+end, "TMPDIR="+dir, "REDIS_URL=", "DATABASE_URL=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group of its own, as the one in a terminal
	return cmd, dir
}

// processes are those at work in dir or started with it in their arguments. The dead that nobody has buried don't count.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	all, err := process.Processes()
	require.NoError(t, err)
	var found []string
	for _, p := range all {
		args, _ := p.Cmdline()
		cwd, _ := p.Cwd()
		if strings.Contains(args+cwd, dir) {
			found = append(found, fmt.Sprintf("%d %s", p.Pid, args))
		}
	}
	return found
}

// segments are the ids of the shared memory of the Postgres servers in dir, by their own account.
func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "postgres-*", "data"))
	require.NoError(t, err)
	ids := make([]string, len(files))
	for i, data := range files {
		ids[i] = segment(t, data)
	}
	return ids
}

func segment(t *testing.T, data string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	require.NoError(t, err)
	return strings.Fields(strings.Split(string(content), "\n")[6])[1]
}

func requireNoSegments(t *testing.T, ids ...string) {
	t.Helper()
	table, _ := os.ReadFile("/proc/sysvipc/shm") // of Linux alone
	for line := range strings.Lines(string(table)) {
		require.NotContains(t, ids, strings.Fields(line)[1])
	}
}

// requireNothingLeft waits until the reaper is done.
func requireNothingLeft(t *testing.T, dir string, segments []string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Empty(c, processes(t, dir))
		entries, err := os.ReadDir(dir)
		require.NoError(c, err)
		assert.Empty(c, entries)
	}, wait, 50*time.Millisecond)
	requireNoSegments(t, segments...)
}

// start starts the child and returns once it has started its servers.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, ready, line)
}

func TestLeftovers_OfProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	cmd, dir := child(t, "block")
	start(t, cmd)
	ids := segments(t, dir)
	require.Len(t, ids, 3)
	require.Greater(t, len(processes(t, dir)), 10, "what there is to find is found")

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	requireNothingLeft(t, dir, ids)
}

func TestLeftovers_OfProcessThatEnds(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"panic", "exit", "interrupt"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			cmd, dir := child(t, end)
			start(t, cmd)
			if end == "interrupt" { // as ^C does, to the whole group
				require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
			}
			require.Error(t, cmd.Wait())
			requireNothingLeft(t, dir, nil)
		})
	}
}

func TestLeftovers_OfProcessThatEndsAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{10, 100, 400, 1600} {
		t.Run(fmt.Sprintf("%d ms", age), func(t *testing.T) {
			t.Parallel()
			cmd, dir := child(t, "block")
			require.NoError(t, cmd.Start())
			time.AfterFunc(age*time.Millisecond, func() { _ = cmd.Process.Kill() })
			require.Error(t, cmd.Wait())
			requireNothingLeft(t, dir, nil)
		})
	}
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		cmd, dir := child(t, "block", "-test.timeout=1s")
		require.Error(t, cmd.Run())
		requireNothingLeft(t, dir, nil)
	})
}

func TestPostgres_LeavesNoSharedMemoryWhenKilled(t *testing.T) {
	t.Parallel()
	var id string
	t.Run("use", func(t *testing.T) {
		p := testserver.StartPostgres(t, testserver.PostgresConfig{})
		args, err := (&process.Process{Pid: int32(p.PID())}).CmdlineSlice() // postgres -D data …
		require.NoError(t, err)
		id = segment(t, args[2])
		p.Kill()
	})
	requireNoSegments(t, id)
}
