package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/examples/internal/exetest"
	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestMain(m *testing.M) { exetest.Main(m) }

// command is a run of the monitor that doesn't see the servers of this process's environment, and ends in any case.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exetest.Path(t), args...)
	cmd.Env = append(os.Environ(), "REDIS_URL=", "HEALTH_REDIS_HOST=", "HEALTH_REDIS_PORT=", "HEALTH_REDIS_PASSWORD=", "TERM=xterm")
	return cmd
}

// output runs the monitor to its end.
func output(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		require.NotNil(t, cmd.ProcessState, "%v", err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// redisWith is a private Redis that keeps beats of these ages, each of a service that is named after its state.
func redisWith(t *testing.T, beats map[string]time.Duration) *testserver.Redis {
	t.Helper()
	_ = exetest.Path(t) // now: the beats shall not grow old while it is built
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	rdb := client(t, server)
	for service, age := range beats {
		const retain = 600 * time.Second
		payload := fmt.Sprintf(`{"service_name":%q,"instance_id":"worker-1","heartbeat_count":1,"queue_size":7,"evil":"\u001b[2J",
			"raw":"%s","upbeat":{"v":1,"interval_seconds":60,"state":%q,"retain_seconds":600}}`, service, "\u009b2J", phase(service))
		require.NoError(t, rdb.Set(t.Context(), "health:last:"+service+":worker-1", payload, retain-age).Err())
	}
	return server
}

func phase(service string) string {
	if service == "stopped" {
		return service
	}
	return "running"
}

func client(t *testing.T, server *testserver.Redis) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestOnce_ExitStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		beats  map[string]time.Duration
		expect string
		code   int
		want   []string // each in one line of the table
	}{
		"nobody": {nil, "", 0, []string{"nothing heard yet"}},
		"well": {map[string]time.Duration{"alive": 0, "stale": 100 * time.Second, "stopped": 400 * time.Second}, "alive,stale", 0, []string{
			"● *alive .* alive .*queue_size=7", "◐ *stale .*[12]m\\d\\ds.* stale", "○ *stopped .* stopped",
		}},
		"dead":               {map[string]time.Duration{"alive": 0, "dead": 200 * time.Second}, "", 1, []string{"● *alive", "✗ *dead .*[34]m\\d\\ds.* dead"}},
		"missing":            {map[string]time.Duration{"alive": 0}, "alive, other", 1, []string{"● *alive", "✗ *other .* missing"}},
		"gone with goodbye":  {map[string]time.Duration{"stopped": time.Second}, "stopped", 1, []string{"○ *stopped"}},
		"goodbye unexpected": {map[string]time.Duration{"stopped": time.Second}, "", 0, []string{"○ *stopped"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redisWith(t, tc.beats)
			stdout, stderr, code := output(t, command(t, "-once", "-redis", server.URL(), "-expect", tc.expect))
			require.Equal(t, tc.code, code, "%s%s", stdout, stderr)
			require.Empty(t, stderr)
			for _, want := range tc.want {
				require.Regexp(t, "(?m)^"+want, stdout)
			}
			require.NotContains(t, stdout, "\x1b")
			require.NotContains(t, stdout, "\u009b")
		})
	}
}

func TestOnce_WhatIsNoBeatIsLeftOut(t *testing.T) {
	t.Parallel()
	server := redisWith(t, map[string]time.Duration{"alive": time.Minute})
	rdb := client(t, server)
	whole := rdb.Get(t.Context(), "health:last:alive:worker-1").Val()
	set := func(key, value string, ttl time.Duration) {
		require.NoError(t, rdb.Set(t.Context(), "health:last:"+key, value, ttl).Err())
	}
	set("ageless:1", strings.ReplaceAll(strings.ReplaceAll(whole, `"alive"`, `"ageless"`), "retain_seconds", "other"), time.Hour)
	set("immortal:1", strings.ReplaceAll(whole, `"alive"`, `"immortal"`), 0)
	set("longer:1", strings.ReplaceAll(whole, `"alive"`, `"longer"`), time.Hour)
	set("nonsense:1", "\x1b[2J", time.Minute)
	require.NoError(t, rdb.LPush(t.Context(), "health:last:list:1", "x").Err())
	stdout, stderr, code := output(t, command(t, "-once", "-json", "-redis", server.URL()))
	require.Zero(t, code, stderr)
	require.Equal(t, 1, strings.Count(stdout, "\n"), stdout)
	require.Contains(t, stdout, `"service":"alive"`)
}

func TestOnce_ManyInstancesAndACluster(t *testing.T) {
	t.Parallel()
	const many = 9000 // several pages of a scan
	cluster := testserver.StartRedisCluster(t, testserver.ClusterConfig{})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	defer rdb.Close()
	_, err := rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
		for i := range many {
			pipe.Set(t.Context(), fmt.Sprintf("health:last:s:%d", i),
				fmt.Sprintf(`{"service_name":"s","instance_id":"%d","upbeat":{"retain_seconds":600}}`, i), 600*time.Second)
		}
		return nil
	})
	require.NoError(t, err)
	stdout, stderr, code := output(t, command(t, "-once", "-json", "-cluster", "-redis", "redis://"+cluster.Addrs()[0]))
	require.Zero(t, code, stderr)
	require.Equal(t, many, strings.Count(stdout, "\n"))
}

func TestOnce_JSON(t *testing.T) {
	t.Parallel()
	server := redisWith(t, map[string]time.Duration{"dead": 200 * time.Second})
	cmd := command(t, "-once", "-json", "-expect", "other")
	host, port, _ := strings.Cut(server.Addr(), ":")
	cmd.Env = append(cmd.Env, "HEALTH_REDIS_HOST="+host, "HEALTH_REDIS_PORT="+port)
	stdout, stderr, code := output(t, cmd)
	require.Equal(t, 1, code, stderr)
	require.NotContains(t, stdout, "\u009b")
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Len(t, lines, 2)
	var dead shown
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &dead))
	require.Equal(t, []string{"dead", "worker-1", "dead"}, []string{dead.Service, dead.Instance, dead.State})
	require.InDelta(t, 220, dead.Age, 25)
	raw, _ := dead.Beat.Field("raw")
	var text string
	require.NoError(t, json.Unmarshal(raw, &text))
	require.Equal(t, "\u009b2J", text, "escaped, and the same")
	require.JSONEq(t, `{"service":"other","state":"missing","why":"expected, and Redis keeps no beat of it"}`, lines[1])
}

func TestMonitor_BadStart(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":        {"-wrong"},
		"unexpected argument": {"now"},
		"not a URL":           {"-redis", "redis://:s3cret%@x:1"},
		"another protocol":    {"-redis", "http://u:s3cret@localhost:1"},
		"no Cluster URL":      {"-cluster", "-redis", "http://u:s3cret@localhost:1"},
		"unknown channels":    {"-channels", "all"},
		"no service's name":   {"-expect", "a:b"},
		"nobody to ask once":  {"-once", "-redis", "redis://:s3cret@127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := output(t, command(t, args...))
			require.Equal(t, 2, code, stderr)
			require.Empty(t, stdout)
			require.Regexp(t, `\Amonitor: .{10,400}\n\z`, stderr, "one clear line")
			require.NotContains(t, stderr, "s3cret")
		})
	}
	cmd := command(t)
	cmd.Env = append(cmd.Env, "HEALTH_REDIS_PORT=none")
	_, stderr, code := output(t, cmd)
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "HEALTH_REDIS_PORT")
}

func TestMonitor_HelpShowsNoPassword(t *testing.T) {
	t.Parallel()
	cmd := command(t, "-h")
	cmd.Env = append(cmd.Env, "REDIS_URL=redis://:s3cret@localhost:6379")
	stdout, stderr, code := output(t, cmd)
	require.Zero(t, code)
	require.Contains(t, stdout, "-redis")
	require.NotContains(t, stdout+stderr, "s3cret")
}

// following starts a monitor whose standard output is read line by line.
func following(t *testing.T, args ...string) (cmd *exec.Cmd, await func(part string) string, stderr *bufio.Reader) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	cmd = command(t, args...)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	e, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	return cmd, func(part string) string {
		t.Helper()
		for lines.Scan() {
			require.NotContains(t, lines.Text(), "\x1b", "this is no terminal")
			if strings.Contains(lines.Text(), part) {
				return lines.Text()
			}
		}
		require.Fail(t, "the output has ended", "before %q", part)
		return ""
	}, bufio.NewReader(e)
}

// A Redis that isn't there at the start, comes, goes and comes again is told of, and so are beats on both channels.
func TestFollow_RedisComesAndGoes(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, testserver.RedisConfig{})
	server.Kill()
	cmd, await, stderr := following(t, "-json", "-channels", "both", "-redis", server.URL())
	first, err := stderr.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, first, "can't be asked yet, trying on: dial tcp")
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	await(`"kind":"blind"`)
	server.Start()
	await(`"kind":"sighted"`)
	rdb := client(t, server)
	for _, channel := range []string{"health:service:long:heartbeat", "heartbeat:service:short"} {
		service := strings.Split(channel, ":")[2]
		beat := fmt.Sprintf(`{"service_name":%q,"instance_id":"worker-1"}`, service)
		require.NoError(t, rdb.Publish(t.Context(), channel, beat).Err())
		var e heartbeat.Event
		require.NoError(t, json.Unmarshal([]byte(await(`"service":"`+service+`"`)), &e))
		require.Equal(t, heartbeat.EventStarted, e.Kind)
		require.Equal(t, heartbeat.Alive, e.State)
	}
	server.Kill()
	await(`"kind":"blind"`)
	server.Start()
	await(`"kind":"sighted"`)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}

func TestFollow_PlainLines(t *testing.T) {
	t.Parallel()
	server := redisWith(t, map[string]time.Duration{"alive": 0})
	cmd, await, stderr := following(t, "-redis", server.URL())
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	require.Regexp(t, `^\d\d:\d\d:\d\d ● started +alive/worker-1 seen for the first time: .+$`, await("started"))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}
