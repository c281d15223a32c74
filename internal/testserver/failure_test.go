//go:build unix

package testserver_test

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

// recorder is a test that may fail without ours failing with it.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Fatal(args ...any) {
	r.message = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// failure is what f fails with.
func (r *recorder) failure(f func()) string {
	r.message = ""
	var wg sync.WaitGroup
	wg.Go(f)
	wg.Wait()
	return r.message
}

func TestServer_FailureFailsItsTest(t *testing.T) {
	t.Parallel()
	tb := &recorder{TB: t}
	require.Contains(t, tb.failure(func() {
		testserver.StartRedis(tb, testserver.RedisConfig{Args: []string{"--no-such-option", "1"}})
	}), "no-such-option", "the log tells why")

	r := testserver.StartRedis(tb, testserver.RedisConfig{})
	require.Contains(t, tb.failure(r.Start), "already running")
	r.Kill()
	require.Contains(t, tb.failure(r.Pause), "not running")
	require.Contains(t, tb.failure(r.Resume), "not running")
	require.Empty(t, tb.failure(r.Start), "it is usable after a failure")
}

func TestServer_PortIsHeldWhileDown(t *testing.T) {
	t.Parallel()
	r := testserver.StartRedis(t, testserver.RedisConfig{})
	r.Kill()
	_, err := net.ListenPacket("udp4", r.Addr())
	require.Error(t, err, "the lock by which other test processes know")
	r.Start()
}

func TestRequire_MissingProgram(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		require string
		fails   bool
	}{
		"skips":             {require: "", fails: false},
		"fails if required": {require: "1", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, _ := child(t, "exit", "-test.v")
			cmd.Env = append(cmd.Env, "PATH=/nonexistent", "UPBEAT_REQUIRE_SERVERS="+c.require)
			out, err := cmd.CombinedOutput()
			require.Contains(t, string(out), "redis-server is missing: run internal/tools/servers.sh")
			if c.fails {
				require.ErrorAs(t, err, new(*exec.ExitError))
			} else {
				require.NoError(t, err)
				require.Contains(t, string(out), "--- SKIP: TestChild")
			}
		})
	}
}

func TestEnvironment_NamesSharedServers(t *testing.T) {
	r := testserver.StartRedis(t, testserver.RedisConfig{})
	p := testserver.StartPostgres(t, testserver.PostgresConfig{})
	host, port, err := net.SplitHostPort(p.Addr())
	require.NoError(t, err)

	t.Setenv("REDIS_URL", r.URL())
	require.Equal(t, r.URL(), testserver.RedisURL(t))
	for _, server := range []string{p.DSN(), "host=" + host + " port=" + port + " user=postgres dbname=postgres sslmode=disable"} {
		t.Setenv("DATABASE_URL", server)
		n, err := query(t, testserver.DatabaseURL(t), "SELECT inet_server_port() * (current_database() LIKE 'test\\_%')::int")
		require.NoError(t, err)
		require.Equal(t, port, fmt.Sprint(n))
	}
}
