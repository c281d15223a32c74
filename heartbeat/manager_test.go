package heartbeat_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

// newManager returns a manager that speaks to a recorder.
func newManager(t *testing.T, cfg heartbeat.ManagerConfig) (*heartbeat.Manager, *heartbeattest.Recorder) {
	t.Helper()
	rec := heartbeattest.NewRecorder()
	t.Cleanup(func() { require.NoError(t, rec.Close()) })
	if cfg.Logger == nil {
		cfg.Logger = new(journal).logger()
	}
	cfg.NoUsage = true
	m, err := heartbeat.NewManager(rec.Client(), "geocoding", cfg)
	require.NoError(t, err)
	return m, rec
}

// run runs the manager until stop is called, which returns what Run did.
func run(t *testing.T, m *heartbeat.Manager) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- m.Run(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

const (
	statusChannel  = "health:service:geocoding:status"
	metricsChannel = "health:service:geocoding:metrics"
	alertChannel   = "health:service:geocoding:alert"
)

func decode(t *testing.T, payload []byte) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(payload, &v), "%s", payload)
	return v
}

func newest(t *testing.T, messages [][]byte) map[string]any {
	t.Helper()
	require.NotEmpty(t, messages)
	return decode(t, messages[len(messages)-1])
}

func probe(t *testing.T, m *heartbeat.Manager, path string) (int, string) {
	t.Helper()
	handler := m.LivezHandler()
	if strings.HasPrefix(path, "/readyz") {
		handler = m.ReadyzHandler()
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	return w.Code, w.Body.String()
}

func TestManager_SendsEachKindAtItsPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{Config: heartbeat.Config{Jitter: noJitter, Stream: "all", Instance: "i1"}})
		m.QueueSize(func() int { return 7 })
		stop := run(t, m)
		<-time.After(10*time.Minute + time.Second)
		require.Len(t, rec.Beats(), 11)
		require.Len(t, rec.Messages(statusChannel), 21, "at once, and every 30 seconds")
		require.Len(t, rec.Messages(metricsChannel), 2)
		require.NoError(t, stop())

		status := newest(t, rec.Messages(statusChannel))
		require.Equal(t, "stopped", status["status"])
		require.Equal(t, "i1", status["instance_id"])
		metrics := newest(t, rec.Messages(metricsChannel))
		require.Equal(t, map[string]any{"queue_size": 7.0}, metrics["metrics"])
		require.InDelta(t, 11, metrics["heartbeat_count"], 1, "a beat is due at the same time")
		require.Equal(t, len(rec.Beats())+22+2, rec.Streamed("all"), "each of them is in the stream, too")
		require.EqualValues(t, 24, m.Stats().Sent)
	})
}

func TestManager_NegativePaceSendsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{StatusEvery: -1, MetricsEvery: -1})
		stop := run(t, m)
		<-time.After(time.Hour)
		require.NoError(t, stop())
		require.Empty(t, rec.Messages(statusChannel))
		require.Empty(t, rec.Messages(metricsChannel))
		require.Greater(t, len(rec.Beats()), 59)
	})
}

func TestManager_StuckLoopShowsEverywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{Config: heartbeat.Config{Jitter: noJitter}})
		loop := m.Progress("fetch", 2*time.Minute)
		stop := run(t, m)
		for range 10 {
			<-time.After(90 * time.Second)
			loop.Mark()
		}
		for _, beat := range rec.Beats() {
			require.Equal(t, heartbeat.PhaseRunning, beat.Phase)
		}
		code, _ := probe(t, m, "/livez")
		require.Equal(t, 200, code)

		<-time.After(2*time.Minute + 1100*time.Millisecond)
		synctest.Wait()
		beats := rec.Beats()
		last := beats[len(beats)-1]
		require.Equal(t, heartbeat.PhaseStuck, last.Phase, "a beat at once, not at the next minute")
		require.Equal(t, map[string]time.Duration{"fetch": 2*time.Minute + time.Second}, last.Stuck)
		code, body := probe(t, m, "/livez")
		require.Equal(t, 503, code)
		require.Equal(t, "[+]ping ok\n[-]fetch failed: no progress for 2m1.1s: its limit is 2m0s\nlivez check failed\n", body)
		code, _ = probe(t, m, "/readyz")
		require.Equal(t, 503, code)
		status := newest(t, rec.Messages(statusChannel))
		require.Equal(t, "stuck", status["status"])
		require.Contains(t, status["problems"], "fetch")
		require.Contains(t, m.Stats().Stuck, "fetch")

		loop.Mark()
		<-time.After(1100 * time.Millisecond)
		beats = rec.Beats()
		require.Equal(t, heartbeat.PhaseRunning, beats[len(beats)-1].Phase)
		require.Empty(t, beats[len(beats)-1].Stuck)
		require.Equal(t, "healthy", newest(t, rec.Messages(statusChannel))["status"])
		require.NoError(t, stop())
	})
}

func TestLoop_Limits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		grace time.Duration
		begin func(*heartbeat.Loop)
		fine  time.Duration // not stuck until then, stuck after it
	}{
		"never marked: the grace":            {0, func(*heartbeat.Loop) {}, time.Minute},
		"never marked, no grace: the limit":  {-1, func(*heartbeat.Loop) {}, 10 * time.Second},
		"marked: the limit, whatever grace":  {time.Hour, (*heartbeat.Loop).Mark, 10 * time.Second},
		"resting: never":                     {-1, (*heartbeat.Loop).Rest, 24 * time.Hour},
		"at work again after rest: as usual": {-1, func(l *heartbeat.Loop) { l.Rest(); l.Mark() }, 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, _ := newManager(t, heartbeat.ManagerConfig{StartupGrace: tt.grace})
				tt.begin(m.Progress("fetch", 10*time.Second))
				<-time.After(tt.fine)
				code, _ := probe(t, m, "/livez")
				require.Equal(t, 200, code)
				if tt.fine < 24*time.Hour {
					<-time.After(time.Nanosecond)
					code, _ = probe(t, m, "/livez")
					require.Equal(t, 503, code)
				}
			})
		})
	}
}

func TestManager_BadRegistrationsAreReturnedByRun(t *testing.T) {
	t.Parallel()
	m, rec := newManager(t, heartbeat.ManagerConfig{})
	m.QueueSize(nil)
	m.CacheSize(func() int { return 1 })
	m.Gauge("cache_size", func() float64 { return 1 })
	m.Gauge("upbeat", func() float64 { return 1 })
	m.CollectEvery("slow", time.Millisecond, constant(1))
	m.LastSuccess(-1)()
	m.Progress("a b", time.Minute).Mark()
	m.Progress("short", time.Millisecond).Mark()
	m.Progress("twice", time.Minute)
	m.Progress("twice", time.Minute)
	m.ReadyWhen("db", nil)
	err := m.Run(t.Context())
	for _, want := range []string{
		`collector "queue_size" has no function`, `"cache_size" is there already`, `"upbeat" can't be used`,
		`cadence of collector "slow" is 1ms: want 1s to 24h0m0s`, "limit of last_successful_operation is -1ns",
		`loop name can't be used: "a b"`, `limit of loop "short" is 1ms: want 100ms to`, `loop "twice" is there already`,
		`check "db" has no function`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, rec.Beats())
}

func TestManager_ReadyCollectors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{})
		m.QueueSize(func() int { return 1380 })
		m.CacheSize(func() int { return 2 })
		m.PendingRequests(func() int { return 17 })
		m.Gauge("active_geofences", func() float64 { return 4.5 })
		m.APIStatus(func(context.Context) (string, error) { return "authenticated", nil })
		done := m.LastSuccess(10 * time.Minute)
		require.NoError(t, m.Beat(t.Context()))
		fields := func() map[string]string {
			all, beats := map[string]string{}, rec.Beats()
			for name, raw := range beats[len(beats)-1].Fields() {
				all[name] = string(raw)
			}
			return all
		}
		require.Equal(t, map[string]string{
			"queue_size": "1380", "cache_size": "2", "pending_requests": "17", "active_geofences": "4.5",
			"api_status": `"authenticated"`, "last_successful_operation": "null",
		}, fields())
		done()
		require.NoError(t, m.Beat(t.Context()))
		require.Equal(t, `"2000-01-01T00:00:00.000000+00:00"`, fields()["last_successful_operation"])
	})
}

func TestManager_StatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{})
		done := m.LastSuccess(10 * time.Minute)
		var broken atomic.Bool
		broken.Store(true)
		m.APIStatus(func(context.Context) (string, error) {
			if broken.Load() {
				return "", errDown
			}
			return "ok", nil
		})
		m.ReadyWhen("db", func(context.Context) error { return errors.New("no route") })
		stop := run(t, m)
		<-time.After(11 * time.Minute)
		_, _ = probe(t, m, "/readyz")
		<-time.After(31 * time.Second)
		status := newest(t, rec.Messages(statusChannel))
		require.Equal(t, "degraded", status["status"])
		require.Equal(t, map[string]any{
			"api_status": errDown.Error(), "db": "no route", "last_successful_operation": "none for 11m30s: its limit is 10m0s",
		}, status["problems"])

		done()
		broken.Store(false)
		<-time.After(2 * time.Minute)
		require.Equal(t, map[string]any{"db": "no route"}, newest(t, rec.Messages(statusChannel))["problems"])
		require.NoError(t, stop())
	})
}

func TestManager_AlertIsRaisedOnceAndCleared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{Config: heartbeat.Config{Stream: "all"}})
		require.NoError(t, m.Alert(t.Context(), heartbeat.Alert{Name: "disk", Message: "90 % full\nsecond line"}))
		<-time.After(time.Hour)
		require.NoError(t, m.Alert(t.Context(), heartbeat.Alert{Name: "disk", Severity: heartbeat.SeverityCritical, Message: "full"}))
		stop := run(t, m)
		synctest.Wait()
		status := newest(t, rec.Messages(statusChannel))
		require.Equal(t, "degraded", status["status"])
		require.Len(t, status["alerts"], 1)
		require.NoError(t, m.ClearAlert(t.Context(), "disk"))
		require.NoError(t, m.ClearAlert(t.Context(), "disk"))
		require.NoError(t, m.ClearAlert(t.Context(), "unknown"))
		require.NoError(t, stop())

		messages := rec.Messages(alertChannel)
		require.Len(t, messages, 3)
		first, second, third := decode(t, messages[0]), decode(t, messages[1]), decode(t, messages[2])
		require.Equal(t, []any{"disk", "raised", "warning", "90 % full", "2000-01-01T00:00:00Z"},
			[]any{first["alert"], first["state"], first["severity"], first["message"], first["raised_at"]})
		require.Equal(t, []any{"raised", "critical", "2000-01-01T00:00:00Z"}, []any{second["state"], second["severity"], second["raised_at"]})
		require.Equal(t, []any{"disk", "cleared"}, []any{third["alert"], third["state"]})
		require.Equal(t, "geocoding", third["service_name"])
	})
}

func TestManager_AlertRefusesNonsense(t *testing.T) {
	t.Parallel()
	m, rec := newManager(t, heartbeat.ManagerConfig{})
	require.ErrorContains(t, m.Alert(t.Context(), heartbeat.Alert{Name: "a b"}), "alert name can't be used")
	require.ErrorContains(t, m.Alert(t.Context(), heartbeat.Alert{Name: "a", Severity: "panic"}), `severity of alert "a" is "panic"`)
	for i := range 64 {
		require.NoError(t, m.Alert(t.Context(), heartbeat.Alert{Name: strings.Repeat("a", i+1)}))
	}
	require.ErrorContains(t, m.Alert(t.Context(), heartbeat.Alert{Name: "b"}), "64 are raised")
	rec.Fail(errDown)
	require.ErrorIs(t, m.Alert(t.Context(), heartbeat.Alert{Name: "a"}), errDown)
	require.Equal(t, 64, m.Stats().Alerts)
	require.EqualValues(t, 1, m.Stats().Failed)
}

func TestManager_FailureOfStatusIsLoggedOncePerEpisode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		m, rec := newManager(t, heartbeat.ManagerConfig{Config: heartbeat.Config{Logger: log.logger()}})
		rec.Fail(errDown)
		stop := run(t, m)
		<-time.After(10 * time.Minute)
		require.Equal(t, 1, log.count("status and metrics do not get through"), "%s", &log)
		require.Equal(t, 2, log.count("level=WARN"), "%s", &log)
		rec.Fail(nil)
		<-time.After(time.Minute)
		require.Equal(t, 1, log.count("status and metrics get through again"), "%s", &log)
		require.NoError(t, stop())
	})
}

func TestManager_DrainsReadinessAndKeepsLiveness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, rec := newManager(t, heartbeat.ManagerConfig{StartupGrace: -1})
		m.Progress("fetch", time.Second)
		code, body := probe(t, m, "/readyz")
		require.Equal(t, 503, code)
		require.Contains(t, body, "Run was not called")
		stop := run(t, m)
		synctest.Wait()
		code, body = probe(t, m, "/readyz")
		require.Equal(t, 200, code)
		require.Equal(t, "ok", body)
		m.Drain()
		<-time.After(2 * time.Minute)
		code, body = probe(t, m, "/readyz")
		require.Equal(t, 503, code)
		require.Contains(t, body, "draining")
		code, _ = probe(t, m, "/livez")
		require.Equal(t, 200, code, "its loops have ended, and that is no reason to kill it")
		beats := rec.Beats()
		require.Equal(t, heartbeat.PhaseDraining, beats[len(beats)-1].Phase)
		require.Equal(t, "draining", newest(t, rec.Messages(statusChannel))["status"])
		require.NoError(t, stop())
		beats = rec.Beats()
		require.Equal(t, heartbeat.PhaseStopped, beats[len(beats)-1].Phase)
		code, _ = probe(t, m, "/readyz")
		require.Equal(t, 503, code)
		require.ErrorContains(t, m.Run(t.Context()), "called before")
	})
}

func TestManager_WrongConfigIsNamed(t *testing.T) {
	t.Parallel()
	_, err := heartbeat.NewManager(nil, "a:b", heartbeat.ManagerConfig{
		Config: heartbeat.Config{Interval: time.Hour * 25}, StatusEvery: time.Millisecond, MetricsEvery: 48 * time.Hour,
		AlertChannel: "{nobody}", StartupGrace: 25 * time.Hour,
		Systemd: heartbeat.Systemd{Socket: "relative", Watchdog: -1},
	})
	for _, want := range []string{
		"rdb is nil", "service can't be used", "Config.Interval is 25h0m0s", "ManagerConfig.StatusEvery is 1ms: want 1s to 24h0m0s",
		"ManagerConfig.MetricsEvery is 48h0m0s", `ManagerConfig.AlertChannel has "{nobody}"`, "ManagerConfig.StartupGrace is 25h0m0s",
		`ManagerConfig.Systemd.Socket is "relative"`, "ManagerConfig.Systemd.Watchdog is -1ns",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 8, strings.Count(err.Error(), "\n"))
}
