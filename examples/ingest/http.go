package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/pool"
	"github.com/upbeat-go/upbeat/store/postgres"
)

// stats are what /stats answers.
type stats struct {
	Consumer consumer.Stats  `json:"consumer"`
	Redis    pool.Stats      `json:"redis"`
	Postgres *postgres.Stats `json:"postgres,omitempty"`
}

func (in *ingest) stats() stats {
	s := stats{Consumer: in.consumer.Stats(), Redis: in.clients.Stats()}
	if db, ok := in.db.(*postgres.DB); ok {
		of := db.Stats()
		s.Postgres = &of
	}
	return s
}

// healthz is 200 while messages are stored, and 503 while one of the servers is away: for who shows how things are. Don't let it kill
// this process, which waits for them: a new one would wait as well.
func (in *ingest) healthz(w http.ResponseWriter, r *http.Request) {
	if s := in.consumer.Stats(); !s.Running || s.Outage {
		http.Error(w, fmt.Sprintf("running: %t, outage of the database: %t", s.Running, s.Outage), http.StatusServiceUnavailable)
		return
	}
	in.clients.HealthHandler().ServeHTTP(w, r)
}

// listen serves /stats and /healthz until stop is called.
func (in *ingest) listen(ctx context.Context) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", in.opts.listen)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "ingest: http://%s/stats and /healthz\n", listener.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", in.healthz)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(in.stats()) // nothing is to be done about a client that has left
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() { _ = server.Close() }, nil
}
