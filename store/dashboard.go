package store

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// DashboardQuery asks for the state of everything. The zero DashboardQuery is a good one.
type DashboardQuery struct {
	// Window is how much time the throughput is measured over, whole minutes up to 24h; 0 means 5m.
	Window time.Duration

	// Alerts is how many open alerts are listed at most, 1 to 10,000; 0 means 100. All are counted.
	Alerts int

	// Consumer is what the consumer says of itself, where the caller knows it: the store doesn't.
	Consumer *ConsumerFigures
}

// ConsumerFigures are what a consumer says of itself. [Judge] reads them.
type ConsumerFigures struct {
	Running   bool    `json:"running"`
	ErrorRate float64 `json:"error_rate"`          // share of its messages that failed, 0 to 1
	Rate      float64 `json:"messages_per_second"` // that it handles
	Lag       int64   `json:"lag"`                 // messages that wait for it; negative if nobody knows
}

// PoolFigures say how a store's connections are used.
type PoolFigures struct {
	PoolSize    int     `json:"pool_size"`
	CheckedOut  int     `json:"checked_out"`
	CheckedIn   int     `json:"checked_in"`
	Overflow    int     `json:"overflow"`
	Utilisation float64 `json:"utilisation"` // share of the connections that may be open which is in use, 0 to 1
}

// Dashboard is the state of everything at one time.
type Dashboard struct {
	At       time.Time       `json:"at"`       // by the store's clock
	Services []ServiceHealth `json:"services"` // by name

	Alerts     []Alert `json:"alerts"`      // open ones, the last raised first
	OpenAlerts int     `json:"open_alerts"` // all, also those that aren't listed

	Throughput Throughput       `json:"throughput"`
	Pool       *PoolFigures     `json:"pool,omitempty"`     // nil for a store without one
	Consumer   *ConsumerFigures `json:"consumer,omitempty"` // as given with the query

	// Findings are what [Judge] finds in Pool and Consumer.
	Findings []AlertChange `json:"findings"`
}

// ServiceHealth sums up the instances of a service.
type ServiceHealth struct {
	Service   string         `json:"service_name"`
	Status    string         `json:"current_status"` // that of the most recently seen instance
	LastSeen  time.Time      `json:"last_seen"`
	Instances map[string]int `json:"instances"` // how many there are by status
}

// Throughput is what the log took in. It is read from the rollups, so it is as new as the last Maintain: To says up to when all
// is counted.
type Throughput struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Messages int64     `json:"messages"`
	Rate     float64   `json:"messages_per_second"`
}

// DashboardHandler answers GET and HEAD, by custom under /api/v1/health/dashboard, with the Dashboard of a store as JSON; with 503
// if the store can't be asked. It says nothing of why to the client, but to logged, which may be nil. ask, which may be nil, makes
// the query of a request: that is where the caller's own figures come in. It is safe for concurrent use; put it behind
// whatever keeps strangers away from your other pages.
func DashboardHandler(db interface {
	Dashboard(ctx context.Context, q DashboardQuery) (Dashboard, error)
}, ask func(*http.Request) DashboardQuery, logged func(error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET or HEAD only", http.StatusMethodNotAllowed)
			return
		}
		q := DashboardQuery{}
		if ask != nil {
			q = ask(r)
		}
		d, err := db.Dashboard(r.Context(), q)
		var encoded []byte
		if err == nil {
			encoded, err = json.Marshal(d)
		}
		if err != nil {
			if logged != nil {
				logged(err)
			}
			http.Error(w, "the store can't be asked", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
		_, _ = w.Write(encoded)
	})
}
