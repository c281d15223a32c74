package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeService answers as examples/queueservice does: each request is refused so many times before it is accepted, and has ended when it is asked for the
// second time.
type fakeService struct {
	refusals   int
	retryAfter string
	ends       string // the status of each at the end

	mu                         sync.Mutex
	tried, asked               map[string]int
	now, most                  int // requests that were accepted and have not been seen to end
	accepted, refused, strange int
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch id, isStatus := strings.CutPrefix(r.URL.Path, "/status/"); {
	case isStatus && f.tried[id] > f.refusals:
		status := "queued"
		if f.asked[id]++; f.asked[id] == 2 {
			status = f.ends
			f.now--
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"status": status})
	case r.URL.Path == "/process" && r.Method == http.MethodPost:
		var body struct{ ID, Text string }
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.ID == "" || body.Text == "" {
			f.strange++
		}
		if f.tried[body.ID]++; f.tried[body.ID] <= f.refusals {
			f.refused++
			w.Header().Set("Retry-After", f.retryAfter)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.accepted++
		f.now++
		f.most = max(f.most, f.now)
		w.WriteHeader(http.StatusAccepted)
	default:
		f.strange++
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	const clients, requests = 7, 60
	for name, test := range map[string]struct {
		service fakeService
		report  string
		err     string
	}{
		"all is well":      {fakeService{ends: "completed"}, "accepted 60, refused 0 times, completed 60, failed 0, in ", ""},
		"it is full":       {fakeService{refusals: 2, retryAfter: "0", ends: "completed"}, "accepted 60, refused 120 times, completed 60, failed 0, in ", ""},
		"tasks fail":       {fakeService{ends: "failed"}, "accepted 60, refused 0 times, completed 0, failed 60, in ", "60 of 60 requests were not completed"},
		"tasks are gone":   {fakeService{ends: "cancelled"}, "failed 60, in ", "60 of 60 requests were not completed"},
		"no word of when":  {fakeService{refusals: 1, ends: "completed"}, "accepted 0, refused 7 times, completed 0", "POST /process says 503 without a Retry-After"},
		"no word of sense": {fakeService{refusals: 1, retryAfter: "soon", ends: "completed"}, "accepted 0, refused 7 times", "without a Retry-After"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &test.service
			f.tried, f.asked = make(map[string]int), make(map[string]int)
			server := httptest.NewServer(f)
			defer server.Close()
			var out bytes.Buffer
			err := run(t.Context(), []string{"-url", server.URL + "/", "-clients", strconv.Itoa(clients), "-requests", strconv.Itoa(requests)}, &out)
			if test.err == "" {
				require.NoError(t, err)
				require.Contains(t, out.String(), "until accepted: p50 ")
				require.Contains(t, out.String(), "until completed: p50 ")
			} else {
				require.ErrorContains(t, err, test.err)
			}
			require.Contains(t, out.String(), test.report)
			require.Zero(t, f.strange)
			require.LessOrEqual(t, f.most, clients, "each client waits for the outcome")
			if err == nil {
				require.Len(t, f.tried, requests, "each request has a name of its own")
				require.Equal(t, []int{requests, requests * test.service.refusals}, []int{f.accepted, f.refused})
			}
		})
	}
}

func TestRun_Refuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-clients", "0"}, {"-requests", "-1"}, {"-x"}, {"-clients", "many"}} {
		require.Error(t, run(t.Context(), args, new(bytes.Buffer)), args)
	}
}
