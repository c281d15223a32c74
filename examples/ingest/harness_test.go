package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/examples/internal/exetest"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// TestMain lets more tests run side by side than there are processors: most of the time they wait for servers to break.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // which the command line overrides
	exetest.Main(m)
}

const tick = 20 * time.Millisecond

// world is the servers of a test, a stream of its own, and what was sent to it.
type world struct {
	t        *testing.T
	env      []string // of the programs
	redisURL string
	dsn      string // of the database itself
	stream   string
	rdb      redis.UniversalClient // to the Redis itself
	producer *redisstream.Producer

	mu      sync.Mutex
	sent    []string // ids of the entries that Redis has confirmed
	unknown int      // messages of which nobody knows whether it got them
}

// newWorld has programs reach Redis and Postgres by the given URLs.
func newWorld(t *testing.T, redisURL, dsn string) *world {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	opts, err := redis.ParseURL(redisURL)
	require.NoError(t, err)
	opts.MaxRetries = -1
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	w := worldOf(t, rdb, dsn, "REDIS_URL="+redisURL, "DATABASE_URL="+dsn)
	w.redisURL = redisURL
	return w
}

func worldOf(t *testing.T, rdb redis.UniversalClient, dsn string, env ...string) *world {
	t.Helper()
	w := &world{t: t, env: env, dsn: dsn, stream: fmt.Sprintf("%s:%d", t.Name(), time.Now().UnixNano()), rdb: rdb}
	var err error
	w.producer, err = redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: w.stream})
	require.NoError(t, err)
	return w
}

// shared is a world on servers that nobody breaks.
func shared(t *testing.T) *world {
	t.Helper()
	return newWorld(t, testserver.RedisURL(t), testserver.DatabaseURL(t))
}

// program is an ingest that runs.
type program struct {
	w       *world
	cmd     *exec.Cmd
	address string
	stderr  *log
	ended   chan struct{}
}

// log takes what a program prints. Safe for concurrent use.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) command(args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), exetest.Path(w.t), args...)
	cmd.Env = append(os.Environ(), "REDIS_URL=", "WORKER_REDIS_SOCKET_TIMEOUT=1s", "REDIS_RETRY_BUDGET=500ms")
	cmd.Env = append(cmd.Env, w.env...)
	return cmd
}

// start runs the program with short times, and returns when it is about to read.
func (w *world) start(args ...string) *program {
	w.t.Helper()
	args = append([]string{"-stream", w.stream, "-listen", "127.0.0.1:0", "-lease", "1s", "-backoff", "50ms", "-timeout", "2s"}, args...)
	p := &program{w: w, cmd: w.command(args...), stderr: new(log), ended: make(chan struct{})}
	out, err := p.cmd.StderrPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, p.cmd.Start())
	lines := bufio.NewReader(io.TeeReader(out, p.stderr))
	for p.address == "" {
		line, err := lines.ReadString('\n')
		require.NoError(w.t, err, "%s", p.stderr)
		if rest, found := strings.CutPrefix(line, "ingest: http://"); found {
			p.address, _, _ = strings.Cut(rest, "/")
		}
	}
	go func() {
		defer close(p.ended)
		_, _ = io.Copy(io.Discard, lines)
		_ = p.cmd.Wait()
	}()
	w.t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop asks it to end, which has to go well.
func (p *program) stop() {
	p.w.t.Helper()
	require.NoError(p.w.t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.ended
	require.Equal(p.w.t, 0, p.cmd.ProcessState.ExitCode(), "%s", p.stderr)
}

// stats asks the program.
func (p *program) stats() (s stats) {
	p.w.t.Helper()
	resp, err := http.Get("http://" + p.address + "/stats")
	require.NoError(p.w.t, err, "%s", p.stderr)
	defer resp.Body.Close()
	require.NoError(p.w.t, json.NewDecoder(resp.Body).Decode(&s))
	return s
}

func (p *program) healthz() int {
	p.w.t.Helper()
	resp, err := http.Get("http://" + p.address + "/healthz")
	require.NoError(p.w.t, err, "%s", p.stderr)
	require.NoError(p.w.t, resp.Body.Close())
	return resp.StatusCode
}

// await waits until the condition holds, and shows what the programs have printed when it never does.
func (w *world) await(what string, condition func() bool, programs ...*program) {
	w.t.Helper()
	patience := time.Duration(testserver.Times(40, 600)) * time.Second
	for deadline := time.After(patience); !condition(); {
		select {
		case <-deadline:
			for _, p := range programs {
				w.t.Logf("%s", p.stderr)
			}
			require.Fail(w.t, "waited in vain", what)
		case <-time.After(tick):
		}
	}
}

// beat is a payload of about 250 bytes.
func beat(n int) []byte {
	return fmt.Appendf(nil, `{"service_name":"service-%d","instance_id":"3f1c2a6e-8d8b-4a53-9c55-%012d","timestamp":"2025-01-16T08:30:00.123456+00:00",`+
		`"uptime_seconds":%d.5,"heartbeat_count":%d,"memory_usage_mb":45.2,"cpu_usage_percent":2.1,"queue_size":%d}`, n%20, n%100, n, n, n)
}

// send adds one message for each payload. Nobody knows what became of those that failed.
func (w *world) send(payloads ...[]byte) error {
	msgs := make([]redisstream.Outgoing, len(payloads))
	for i, p := range payloads {
		msgs[i].Payload = p
	}
	ids, err := w.producer.Send(context.WithoutCancel(w.t.Context()), msgs...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if id == "" {
			w.unknown++
		} else {
			w.sent = append(w.sent, id)
		}
	}
	return err
}

func (w *world) sendBeats(n int) {
	w.t.Helper()
	payloads := make([][]byte, n)
	for i := range payloads {
		payloads[i] = beat(i)
	}
	require.NoError(w.t, w.send(payloads...))
}

// load sends without a pause between small batches until stop is called, whatever becomes of Redis.
func (w *world) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n += 20 {
			var payloads [][]byte
			for i := range 20 {
				payloads = append(payloads, beat(n+i))
			}
			_ = w.send(payloads...) // counted
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	return stop
}

func (w *world) confirmed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.sent...)
}

// backlog is how many entries the group is still to handle, and how many of these it holds; it isn't there before the first program.
func (w *world) backlog() (waiting, pending int64) {
	groups, err := w.rdb.XInfoGroups(w.t.Context(), w.stream).Result()
	if err != nil || len(groups) == 0 {
		return -1, -1
	}
	most := int64(1_000_000)
	if groups[0].Lag >= 0 {
		most = 1 // that there is something: Redis before 7.4 may be wrong about that after failovers
	}
	entries, err := w.rdb.XRangeN(w.t.Context(), w.stream, "("+groups[0].LastDeliveredID, "+", most).Result()
	switch {
	case err != nil:
		return -1, -1
	case most == 1 && len(entries) == 1:
		return groups[0].Lag + groups[0].Pending, groups[0].Pending
	}
	return int64(len(entries)) + groups[0].Pending, groups[0].Pending
}

// drained waits until the group has handled everything, and the programs hold nothing: of that, Redis may have forgotten.
func (w *world) drained(programs ...*program) {
	w.t.Helper()
	done := false
	defer func() {
		if done {
			return
		}
		for _, p := range programs {
			w.t.Logf("in flight: %d", p.stats().Consumer.InFlight)
		}
		groups, err := w.rdb.XInfoGroups(context.Background(), w.stream).Result()
		w.t.Logf("group: %+v, %v", groups, err)
	}()
	w.await("for all to be handled", func() bool {
		for _, p := range programs {
			if p.stats().Consumer.InFlight > 0 {
				return false
			}
		}
		waiting, _ := w.backlog()
		return waiting == 0
	}, programs...)
	done = true
}

// stored is what the database has: the service by the ID of the message, each of which is there once.
func (w *world) stored() map[string]string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.dsn)
	require.NoError(w.t, err)
	defer conn.Close(w.t.Context())
	found, err := conn.Query(w.t.Context(), "SELECT message_id, service_name FROM health_messages")
	require.NoError(w.t, err)
	services := map[string]string{}
	var id, service string
	rows, err := pgx.ForEachRow(found, []any{&id, &service}, func() error { services[id] = service; return nil })
	require.NoError(w.t, err)
	require.EqualValues(w.t, len(services), rows.RowsAffected(), "a message is stored twice")
	return services
}

// complete says that each message that Redis has ever got is in the store, and nothing else.
func (w *world) complete() (letters int) {
	w.t.Helper()
	info, err := w.rdb.XInfoStream(w.t.Context(), w.stream).Result()
	require.NoError(w.t, err)
	services := w.stored()
	require.EqualValues(w.t, info.EntriesAdded, len(services), "entries added to the stream, and messages in the store")
	require.Zero(w.t, len(w.missing(services)))
	for _, service := range maps.All(services) {
		if service == deadService {
			letters++
		}
	}
	return letters
}

// missing are the messages that Redis has confirmed and the store doesn't have.
func (w *world) missing(stored map[string]string) (ids []string) {
	for _, id := range w.confirmed() {
		if _, found := stored[id]; !found {
			ids = append(ids, id)
		}
	}
	return ids
}
