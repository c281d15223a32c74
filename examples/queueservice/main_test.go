package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/examples/internal/exetest"
	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
)

func TestMain(m *testing.M) { exetest.Main(m) }

// service is a running program.
type service struct {
	cmd *exec.Cmd
	url string
}

func startService(t *testing.T, database string, args ...string) *service {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-db", database}, args...)
	cmd := exec.CommandContext(context.Background(), exetest.Path(t), args...)
	cmd.Env = append(os.Environ(), "DATABASE_URL=")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	var log strings.Builder
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return &service{cmd, url}
		}
	}
	t.Fatalf("it doesn't listen: %s", log.String())
	return nil
}

// post submits a request and reports whether it was accepted. Any answer but a refusal may mean anything.
func (s *service) post(id string) bool {
	body, _ := json.Marshal(map[string]string{"id": id, "text": "a b"})
	w, err := http.Post(s.url+"/process", "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer w.Body.Close()
	return w.StatusCode == http.StatusAccepted
}

func (s *service) get(t *testing.T, path string) map[string]any {
	t.Helper()
	w, err := http.Get(s.url + path)
	require.NoError(t, err)
	defer w.Body.Close()
	var body map[string]any
	require.NoError(t, json.NewDecoder(w.Body).Decode(&body))
	return body
}

// databases are one of each kind.
func databases(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"sqlite": filepath.Join(t.TempDir(), "queue.db"), "postgres": testserver.DatabaseURL(t)}
}

func TestMain_WorksThroughALoad(t *testing.T) {
	t.Parallel()
	for name, database := range databases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, database, "-scale", "0.01", "-capacity", "50", "-concurrency", "100")
			out, err := exec.CommandContext(t.Context(), "go", "run", "../queueload", "-url", s.url, "-clients", "300", "-requests", "600").CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "completed 600, failed 0")

			require.True(t, s.post("one"))
			require.Eventually(t, func() bool { return s.get(t, "/status/one")["status"] == queue.StatusCompleted }, time.Minute, 10*time.Millisecond)
			one := s.get(t, "/status/one")
			require.Equal(t, map[string]any{"final_result": "A B (2 words)"}, one["result"])
			require.Len(t, one["steps"], 3)
			require.EqualValues(t, 601, s.get(t, "/database/stats")["completed"])
			require.EqualValues(t, 100, s.get(t, "/thread-efficiency")["total_threads"])
			require.Equal(t, true, s.get(t, "/readyz")["ok"])
			w, err := http.Get(s.url + "/metrics")
			require.NoError(t, err)
			defer w.Body.Close()
			text, err := io.ReadAll(w.Body)
			require.NoError(t, err)
			require.Contains(t, string(text), `queue_finished_total{outcome="done"} 601`)
			if runtime.GOOS != "windows" {
				require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
				require.NoError(t, s.cmd.Wait())
			}
		})
	}
}

// TestMain_SurvivesKill kills the service at random moments under load and starts it again. In the end every request that was accepted is completed, and
// the one outcome that is recorded for it never changes.
func TestMain_SurvivesKill(t *testing.T) {
	t.Parallel()
	for name, database := range databases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-scale", "0.02", "-concurrency", "50", "-lease", "1s"}
			var accepted sync.Map
			var sent, count atomic.Int64
			outcomes := make(map[string]any)
			for range testserver.Times(3, 100) {
				s := startService(t, database, args...)
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							id := fmt.Sprintf("request-%d", sent.Add(1))
							if s.post(id) {
								accepted.Store(id, true)
								count.Add(1)
							}
						}
					})
				}
				<-time.After(100*time.Millisecond + rand.N(1500*time.Millisecond))
				checkOutcomes(t, s, &accepted, outcomes, 20)
				require.NoError(t, s.cmd.Process.Kill())
				_ = s.cmd.Wait()
				close(stop)
				wg.Wait()
			}
			require.Positive(t, count.Load())
			s := startService(t, database, args...)
			require.Eventually(t, func() bool {
				stats := s.get(t, "/database/stats")
				return stats["queued"].(float64)+stats["processing"].(float64) == 0
			}, 2*time.Minute, 100*time.Millisecond)
			checkOutcomes(t, s, &accepted, outcomes, int(count.Load()))
			accepted.Range(func(id, _ any) bool {
				r := s.get(t, "/status/"+id.(string))
				require.Equal(t, queue.StatusCompleted, r["status"], r)
				return true
			})
			t.Logf("%d of %d requests were accepted", count.Load(), sent.Load())
		})
	}
}

// checkOutcomes looks at some requests: what was seen once to have ended stays as it was seen.
func checkOutcomes(t *testing.T, s *service, accepted *sync.Map, outcomes map[string]any, some int) {
	t.Helper()
	accepted.Range(func(id, _ any) bool {
		r := s.get(t, "/status/"+id.(string))
		delete(r, "owner")
		if before, seen := outcomes[id.(string)]; seen {
			require.Equal(t, before, r)
		} else if r["status"] == queue.StatusCompleted {
			outcomes[id.(string)] = r
		}
		some--
		return some > 0
	})
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	for name, args := range map[string][]string{"unknown flag": {"-x"}, "argument": {"x"}, "scale": {"-scale", "-1"}, "no number": {"-scale", "NaN"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseOptions(args, none)
			require.Error(t, err)
		})
	}
	o, err := parseOptions(nil, none)
	require.NoError(t, err)
	require.Equal(t, "queue.db", o.database)
	o, err = parseOptions(nil, func(string) string { return "postgres://x" })
	require.NoError(t, err)
	require.Equal(t, "postgres://x", o.database)
}
