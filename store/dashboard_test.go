package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// asked is a store of which only the dashboard is there.
type asked func(q store.DashboardQuery) (store.Dashboard, error)

func (a asked) Dashboard(_ context.Context, q store.DashboardQuery) (store.Dashboard, error) {
	return a(q)
}

func get(t *testing.T, h http.Handler, method string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/api/v1/health/dashboard", nil))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	return w
}

func TestDashboardHandler_Answers(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 16, 8, 30, 0, 0, time.UTC)
	db := asked(func(q store.DashboardQuery) (store.Dashboard, error) {
		return store.Dashboard{
			At: at, Services: []store.ServiceHealth{{Service: "geocoding", Status: "running", LastSeen: at, Instances: map[string]int{"running": 2}}},
			Alerts: []store.Alert{}, Consumer: q.Consumer, Findings: store.Judge(q.Consumer, nil),
		}, nil
	})
	h := store.DashboardHandler(db, func(*http.Request) store.DashboardQuery {
		return store.DashboardQuery{Consumer: &store.ConsumerFigures{Running: true, ErrorRate: 0.02, Rate: 50}}
	}, nil)
	w := get(t, h, http.MethodGet)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.JSONEq(t, `{
		"at": "2025-01-16T08:30:00Z",
		"services": [{"service_name": "geocoding", "current_status": "running", "last_seen": "2025-01-16T08:30:00Z", "instances": {"running": 2}}],
		"alerts": [], "open_alerts": 0,
		"throughput": {"from": "0001-01-01T00:00:00Z", "to": "0001-01-01T00:00:00Z", "messages": 0, "messages_per_second": 0},
		"consumer": {"running": true, "error_rate": 0.02, "messages_per_second": 50, "lag": 0},
		"findings": [{"alert": "error_rate", "severity": "warning", "message": "2.00 % of the messages failed"}]
	}`, w.Body.String())
	require.Equal(t, http.StatusOK, get(t, h, http.MethodHead).Code)
	refused := get(t, h, http.MethodPost)
	require.Equal(t, http.StatusMethodNotAllowed, refused.Code)
	require.Equal(t, "GET, HEAD", refused.Header().Get("Allow"))
}

func TestDashboardHandler_KeepsErrorsToItself(t *testing.T) {
	t.Parallel()
	trouble := errors.New("connection to 10.0.0.5 refused for user upbeat")
	var logged error
	h := store.DashboardHandler(asked(func(q store.DashboardQuery) (store.Dashboard, error) {
		require.Equal(t, store.DashboardQuery{}, q)
		return store.Dashboard{}, trouble
	}), nil, func(err error) { logged = err })
	w := get(t, h, http.MethodGet)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotContains(t, w.Body.String(), "10.0.0.5")
	require.ErrorIs(t, logged, trouble)
}

func TestUptime_Percent(t *testing.T) {
	t.Parallel()
	percent, known := store.Uptime{Up: 3 * time.Hour, Down: time.Hour, Unknown: 100 * time.Hour}.Percent()
	require.True(t, known)
	require.InDelta(t, 75, percent, 1e-9)
	_, known = store.Uptime{Unknown: time.Hour}.Percent()
	require.False(t, known)
}

func ExampleJudge() {
	for _, f := range store.Judge(&store.ConsumerFigures{Running: true, ErrorRate: 0.07, Rate: 613}, &store.PoolFigures{Utilisation: 0.85}) {
		fmt.Println(f.Severity, f.Name+":", f.Message)
	}
	// Output:
	// critical error_rate: 7.00 % of the messages failed
	// warning pool_utilisation: 85 % of the connections are in use
}
