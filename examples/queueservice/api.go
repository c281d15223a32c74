package main

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/store"
)

type requests = queue.Queue[text, answer]

func routes(q *requests, db database) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /process", process(q))
	mux.HandleFunc("POST /cancel/{id}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]bool{"cancelled": q.Cancel(r.PathValue("id"))})
	})
	mux.HandleFunc("GET /queue-status", q.ServeStats)
	mux.HandleFunc("GET /status/{id}", q.ServeRequest)
	mux.HandleFunc("GET /thread-efficiency", q.ServeEfficiency)
	mux.HandleFunc("GET /advice", q.ServeAdvice)
	mux.HandleFunc("GET /database/stats", func(w http.ResponseWriter, r *http.Request) {
		stats, err := db.RequestStats(r.Context(), store.RequestStatsQuery{})
		if err != nil {
			reply(w, http.StatusServiceUnavailable, map[string]string{"error": "the database can't be reached"})
			return
		}
		reply(w, http.StatusOK, stats)
	})
	mux.HandleFunc("GET /metrics", metrics(q))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := q.Stats()
		ready, status := !s.Paused && !s.Tracked.Outage && s.RetryAfterSeconds == 0, http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		reply(w, status, map[string]bool{"ok": ready})
	})
	return mux
}

// process accepts a request. 202 says that it is stored and will be finished; 503 that there is no room, or nowhere to store it, and when to come back.
func process(q *requests) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var job struct {
			ID       string `json:"id"`
			Key      string `json:"key"`
			Priority int    `json:"priority"`
			text
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&job); err != nil {
			reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		ticket, err := q.Submit(r.Context(), queue.Job[text]{ID: job.ID, Key: job.Key, Priority: job.Priority, Payload: job.text})
		full, isFull := errors.AsType[*queue.FullError](err)
		switch {
		case err == nil:
			reply(w, http.StatusAccepted, map[string]string{"id": ticket.ID(), "status_url": "/status/" + ticket.ID()})
		case isFull:
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(full.RetryAfter.Seconds()))))
			reply(w, http.StatusServiceUnavailable, map[string]string{"error": "busy"})
		case errors.Is(err, queue.ErrElsewhere):
			reply(w, http.StatusAccepted, map[string]string{"id": job.ID, "status_url": "/status/" + job.ID})
		case errors.Is(err, queue.ErrOutage), errors.Is(err, queue.ErrUnknown), errors.Is(err, queue.ErrClosed):
			w.Header().Set("Retry-After", "5")
			reply(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		default:
			reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		}
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}
