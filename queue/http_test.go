package queue_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

func get(t *testing.T, mux http.Handler, path string) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	return w.Code, body
}

func TestQueue_ServesItsStatus(t *testing.T) {
	t.Parallel()
	var m queuetest.Memory
	q := start(t, func(ctx context.Context, task *queue.Task[int]) (map[string]int, error) {
		n, err := queue.Step(ctx, task, "step1", func(context.Context) (int, error) { return task.Payload, nil })
		return map[string]int{"n": n}, err
	}, queue.Config{Tracker: &m})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /queue-status", q.ServeStats)
	mux.HandleFunc("GET /status/{id}", q.ServeRequest)
	mux.HandleFunc("GET /thread-efficiency", q.ServeEfficiency)
	mux.HandleFunc("GET /advice", q.ServeAdvice)

	_, err := mustSubmit(t, q, queue.Job[int]{ID: "a/b c", Payload: 5}).Wait(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		code, body := get(t, mux, "/status/a%2Fb%20c")
		require.Equal(t, http.StatusOK, code)
		return body["status"] == queue.StatusCompleted
	}, testPatience, testTurn)
	_, body := get(t, mux, "/status/a%2Fb%20c")
	require.Equal(t, map[string]any{"n": 5.0}, body["result"])
	require.Equal(t, "step1", body["steps"].([]any)[0].(map[string]any)["name"])

	code, _ := get(t, mux, "/status/unknown")
	require.Equal(t, http.StatusNotFound, code)
	m.Fail(func(string) (before, after error) { return queuetest.Outage, nil })
	code, _ = get(t, mux, "/status/unknown")
	require.Equal(t, http.StatusServiceUnavailable, code)
	m.Fail(nil)

	_, body = get(t, mux, "/queue-status")
	require.EqualValues(t, 1, body["done"])
	_, body = get(t, mux, "/thread-efficiency")
	require.Equal(t, map[string]any{
		"active_threads": 0.0, "total_threads": 4000.0, "efficiency_percentage": 0.0, "recommendation": "a lower concurrency would do now",
	}, body)
	_, body = get(t, mux, "/advice")
	require.NotEmpty(t, body["reasons"])
}

func TestQueue_ServesItsEfficiency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, sleeper, queue.Config{Concurrency: 4})
		stop := run(q)
		efficiency := func() map[string]any {
			synctest.Wait()
			w := httptest.NewRecorder()
			q.ServeEfficiency(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
			var body map[string]any
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			return body
		}
		for _, percent := range []float64{25, 50, 75, 100} {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: 10 * time.Second})
			require.Equal(t, percent, efficiency()["efficiency_percentage"])
		}
		require.Equal(t, "as it should be", efficiency()["recommendation"])
		mustSubmit(t, q, queue.Job[time.Duration]{})
		require.Contains(t, efficiency()["recommendation"], "raise the concurrency")
		q.Pause()
		require.Equal(t, "paused", efficiency()["recommendation"])
		q.Resume()
		require.NoError(t, stop())
	})
}
