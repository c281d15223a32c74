package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

// started runs a service in simulated time. stop ends it and returns the error that it ended with.
func started(t *testing.T, kind string, hang time.Duration) (s *service, rec *heartbeattest.Recorder, stop func() error) {
	t.Helper()
	rec = heartbeattest.NewRecorder()
	s, err := newService(kind, rec.Client(), heartbeat.ManagerConfig{Config: heartbeat.Config{NoUsage: true}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.run(ctx, hang) }()
	return s, rec, func() error {
		cancel()
		defer rec.Close()
		return <-result
	}
}

func TestServices_FieldsOnTheWire(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		service string
		fields  map[string]string
	}{
		"tracker_fetcher": {"tracker_fetcher", map[string]string{
			"queue_size": `^\d+$`, "last_successful_operation": `^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"$`, "api_status": `^"authenticated"$`,
		}},
		"geocoding": {"geocoding_service", map[string]string{"cache_size": `^\d+$`, "pending_requests": `^\d+$`}},
		"geofence":  {"geofence_service", map[string]string{"active_geofences": `^\d+$`, "pending_events": `^\d+$`}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, rec, stop := started(t, kind, 0)
				<-time.After(2 * time.Minute)
				require.NoError(t, stop())
				beats := rec.Beats()
				require.Equal(t, heartbeat.PhaseStopped, beats[len(beats)-1].Phase, "the goodbye, which asks no collector")
				last := beats[len(beats)-2]
				require.Equal(t, want.service, last.Service)
				require.Empty(t, last.CollectorErrors)
				fields := maps.Collect(last.Fields())
				require.ElementsMatch(t, slices.Collect(maps.Keys(want.fields)), slices.Collect(maps.Keys(fields)))
				for name, pattern := range want.fields {
					require.Regexp(t, pattern, string(fields[name]), name)
				}
			})
		})
	}
}

func TestServices_WorkThatHangsIsToldByBeatAndLivez(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, rec, stop := started(t, "geocoding", 90*time.Second)
		livez := func() int {
			w := httptest.NewRecorder()
			s.beats.LivezHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", nil))
			return w.Code
		}
		newest := func() heartbeat.Beat { beats := rec.Beats(); return beats[len(beats)-1] }

		<-time.After(90*time.Second + workLimit/2)
		require.Equal(t, http.StatusOK, livez())
		require.Equal(t, heartbeat.PhaseRunning, newest().Phase)
		<-time.After(workLimit)
		require.Equal(t, http.StatusServiceUnavailable, livez())
		require.Equal(t, heartbeat.PhaseStuck, newest().Phase)
		require.Contains(t, newest().Stuck, "work")
		require.NoError(t, stop(), "it ends all the same")
		require.Equal(t, heartbeat.PhaseStopped, newest().Phase)
	})
}

// The goodbye comes when the work is done, not when it is asked to end.
func TestServices_DrainsBeforeTheGoodbye(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, rec, stop := started(t, "geocoding", 0)
		<-time.After(2 * time.Minute)
		s.waiting.Add(5000)
		asked := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		<-time.After(70 * time.Second)
		w := httptest.NewRecorder()
		s.beats.ReadyzHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		beats := rec.Beats()
		require.Equal(t, heartbeat.PhaseDraining, beats[len(beats)-1].Phase)
		require.NoError(t, <-stopped)
		require.Zero(t, s.PendingRequests())
		beats = rec.Beats()
		require.Equal(t, heartbeat.PhaseStopped, beats[len(beats)-1].Phase)
		require.Greater(t, beats[len(beats)-1].Time.Sub(asked), 70*time.Second)
	})
}

// A service whose goodbye can't be delivered says so.
func TestServices_LostGoodbyeIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, rec, stop := started(t, "geofence", 0)
		<-time.After(time.Second)
		rec.Fail(context.DeadlineExceeded)
		require.Error(t, stop())
	})
}
