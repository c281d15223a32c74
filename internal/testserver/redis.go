package testserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Redis is a private Redis server.
type Redis struct{ *Server }

// RedisConfig says how a private Redis differs from the usual one, which stores nothing on disk.
type RedisConfig struct {
	// Args are options of redis-server, say "--appendonly", "yes". They come last, so they win.
	Args []string
}

// StartRedis starts a private Redis that ends with the test.
func StartRedis(tb testing.TB, cfg RedisConfig) *Redis {
	tb.Helper()
	r, err := startRedis(tb.Context(), cfg.Args)
	require(tb, err)
	r.give(tb)
	return r
}

// URL is redis://host:port/0, without a password even if there is one.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// sharedRedis runs until the process ends.
var sharedRedis = sync.OnceValues(func() (*Redis, error) { return startRedis(context.Background(), nil) })

// RedisURL is the URL of a Redis that all tests of this process share: $REDIS_URL if set, else a private server, started at the
// first call. Nothing flushes it: use key names of your own. Don't stop it: [StartRedis] gives one to break.
func RedisURL(tb testing.TB) string {
	tb.Helper()
	if url := os.Getenv("REDIS_URL"); url != "" {
		return url
	}
	r, err := sharedRedis()
	require(tb, err)
	return r.URL()
}

func startRedis(ctx context.Context, args []string) (*Redis, error) {
	return launchRedis(ctx, redisSpec{args: args, conf: inMemory})
}

// inMemory stores nothing on disk, and lets a replica begin at once rather than wait for another to share the work.
var inMemory = []string{`save ""`, "appendonly no", "repl-diskless-sync-delay 0"}

// redisSpec is what differs between a Redis, a node of a Cluster and a Sentinel.
type redisSpec struct {
	conf []string
	args []string
	bus  bool
}

// launchRedis starts redis-server with a configuration file that it may rewrite, as CONFIG REWRITE and Sentinel do.
func launchRedis(ctx context.Context, rs redisSpec) (*Redis, error) {
	program, err := redisProgram()
	if err != nil {
		return nil, err
	}
	dir, err := newDir("redis", nil)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "redis.conf")
	lines := append([]string{"bind 127.0.0.1", "dir " + strconv.Quote(dir)}, rs.conf...)
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	s, err := launch(ctx, spec{
		dir:   dir,
		bus:   rs.bus,
		ready: pingRedis,
		stop:  syscall.SIGTERM,
		argv: func(port int) []string {
			return append([]string{program, conf, "--port", strconv.Itoa(port)}, rs.args...)
		},
	})
	if err != nil {
		return nil, err
	}
	return &Redis{s}, nil
}

func redisProgram() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &missingError{program: "redis-server"}
}

// pingRedis is content with a server that asks for a password first: it serves.
func pingRedis(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(reply, "+PONG") && !strings.HasPrefix(reply, "-NOAUTH") {
		return fmt.Errorf("PING answered %q", reply)
	}
	return nil
}
