package pool

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// HealthHandler answers GET and HEAD, by custom under /health, with [Clients.Health] as JSON: 200 while Redis is ok or degraded, 503 when
// it is down. A degraded one stays in service on purpose: it still works in part, and to take it out of a balancer would
// move its load to others that see the same Redis. It answers within 3 seconds, whatever the network does.
func (c *Clients) HealthHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		h := c.Health(r.Context())
		code := http.StatusOK
		if h.Status == StatusDown {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, h)
	})
}

// StatsHandler answers GET and HEAD, by custom under /api/v1/redis/pool-stats, with [Clients.Stats] as JSON. It doesn't ask the server.
func (c *Clients) StatsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if readOnly(w, r) {
			answer(w, http.StatusOK, c.Stats())
		}
	})
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "GET or HEAD only", http.StatusMethodNotAllowed)
	return false
}

// answer has nothing to do about an error of encoding, which these types don't have, or of a client that has left.
func answer(w http.ResponseWriter, code int, body any) {
	encoded, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(code)
	_, _ = w.Write(encoded)
}
