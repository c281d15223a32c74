package main

import (
	"fmt"
	"net/http"
	"strings"
)

// metrics answers in the text format of Prometheus, https://prometheus.io/docs/instrumenting/exposition_formats.
func metrics(q *requests) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s := q.Stats()
		var b strings.Builder
		family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
		one := func(name, kind, help string, value any) {
			family(name, kind, help)
			fmt.Fprintf(&b, "%s %v\n", name, value)
		}
		family("queue_depth", "gauge", "Requests that wait, by shard.")
		for shard, depth := range s.Depths {
			fmt.Fprintf(&b, "queue_depth{shard=\"%d\"} %d\n", shard, depth)
		}
		one("queue_capacity", "gauge", "Requests that may wait.", s.Capacity)
		one("queue_active", "gauge", "Handlers that run.", s.Active)
		one("queue_concurrency", "gauge", "Handlers that may run.", s.Concurrency)
		one("queue_stuck", "gauge", "Handlers that run for too long.", s.Stuck)
		one("queue_retry_after_seconds", "gauge", "What a refused client is told.", s.RetryAfterSeconds)
		family("queue_finished_total", "counter", "Requests that have ended, by outcome.")
		for _, o := range []struct {
			name  string
			count int64
		}{{"done", s.Done}, {"failed", s.Failed}, {"cancelled", s.Cancelled}, {"expired", s.Expired}, {"superseded", s.Superseded}} {
			fmt.Fprintf(&b, "queue_finished_total{outcome=%q} %d\n", o.name, o.count)
		}
		one("queue_refused_total", "counter", "Submissions refused because there was no room.", s.Refused)
		one("queue_retried_total", "counter", "Attempts that failed and were followed by another.", s.Retried)
		one("queue_tracker_refused_total", "counter", "Submissions refused because the database could not be reached.", s.Tracked.Refused)
		one("queue_tracker_recovered_total", "counter", "Requests taken over from processes that died.", s.Tracked.Recovered)
		one("queue_tracker_unrecorded", "gauge", "Requests whose newest state is not stored yet.", s.Tracked.Unrecorded)
		outage := 0
		if s.Tracked.Outage {
			outage = 1
		}
		one("queue_tracker_outage", "gauge", "1 while the database can't be reached.", outage)
		family("queue_wait_seconds", "gauge", "How long requests have waited, over the last minute or two.")
		fmt.Fprintf(&b, "queue_wait_seconds{quantile=\"0.5\"} %g\nqueue_wait_seconds{quantile=\"0.95\"} %g\nqueue_wait_seconds{quantile=\"0.99\"} %g\n", s.Wait.P50, s.Wait.P95, s.Wait.P99)
		family("queue_run_seconds", "gauge", "How long handlers have run, over the last minute or two.")
		fmt.Fprintf(&b, "queue_run_seconds{quantile=\"0.5\"} %g\nqueue_run_seconds{quantile=\"0.95\"} %g\nqueue_run_seconds{quantile=\"0.99\"} %g\n", s.Run.P50, s.Run.P95, s.Run.P99)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(b.String())) // the client has gone
	}
}
