package pool_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

func ask(t *testing.T, h http.Handler) (code int, body map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.NewDecoder(w.Body).Decode(&body))
	return w.Code, body
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	c := open(t, shared(t))
	mux := http.NewServeMux()
	mux.Handle("/health", c.HealthHandler())
	mux.Handle("/api/v1/redis/pool-stats", c.StatsHandler())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, fields := range map[string][]string{
		"/health":                  {"status", "nodes", "checked_at", "stats"},
		"/api/v1/redis/pool-stats": {"max_connections", "created_connections", "available_connections", "in_use_connections", "waiting", "hits", "misses", "timeouts", "waits", "wait_seconds", "stale", "pub_sub", "blocking"},
	} {
		for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405, "OPTIONS": 405} {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
			require.NoError(t, err)
			answer, err := server.Client().Do(r)
			require.NoError(t, err)
			require.Equal(t, want, answer.StatusCode, "%s %s", method, path)
			require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
			switch {
			case want == 405:
				require.Equal(t, "GET, HEAD", answer.Header.Get("Allow"))
			case method == "HEAD":
				require.Positive(t, answer.ContentLength)
			default:
				var body map[string]any
				require.NoError(t, json.NewDecoder(answer.Body).Decode(&body))
				for _, field := range fields {
					require.Contains(t, body, field)
				}
			}
			require.NoError(t, answer.Body.Close())
		}
	}
}

// A probe that hangs says less than one that fails.
func TestHealthHandler_AnswersInTime(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{Args: []string{"--requirepass", "s3cr3t"}})
	for name, breakIt := range map[string]func(*testserver.Proxy){
		"gone":       (*testserver.Proxy).Refuse,
		"black hole": (*testserver.Proxy).BlackHole,
		"half-open":  (*testserver.Proxy).HalfOpen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := testserver.StartProxy(t, srv.Addr())
			cfg := pool.Config{Addr: proxy.Addr(), Password: "s3cr3t", Profile: often()}
			idle, c := open(t, cfg), open(t, cfg)
			watching, _ := watched(t, cfg)
			code, _ := ask(t, watching.HealthHandler())
			require.Equal(t, 200, code)
			breakIt(proxy)
			var wg sync.WaitGroup
			wg.Go(func() {
				start := time.Now()
				code, body := ask(t, c.HealthHandler())
				require.Less(t, time.Since(start), 3500*time.Millisecond)
				require.Equal(t, 503, code)
				require.Equal(t, "down", body["status"])
				require.NotContains(t, body["reasons"].([]any)[0], "s3cr3t")
			})
			require.Eventually(t, func() bool {
				start := time.Now()
				code, _ := ask(t, watching.HealthHandler())
				require.Less(t, time.Since(start), 500*time.Millisecond, "Run has the answer")
				return code == 503
			}, 10*time.Second, 10*time.Millisecond)
			wg.Wait()
			proxy.Pass()
			code, _ = ask(t, idle.HealthHandler())
			require.Equal(t, 200, code)
			require.Eventually(t, func() bool {
				code, _ := ask(t, watching.HealthHandler())
				return code == 200
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
}
