package queue

import (
	"encoding/json"
	"net/http"
	"time"
)

// ServeStats answers with Stats as JSON: an http.HandlerFunc.
func (q *Queue[T, R]) ServeStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, q.Stats())
}

// ServeAdvice answers with Advise as JSON: an http.HandlerFunc.
func (q *Queue[T, R]) ServeAdvice(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, q.Advise())
}

// ServeRequest answers with what is known of the job whose ID is the path value "id", as JSON: an http.HandlerFunc for patterns such as
// "GET /status/{id}". It is 404 if nothing is known, and 503 if the tracker can't be reached.
func (q *Queue[T, R]) ServeRequest(w http.ResponseWriter, r *http.Request) {
	request, found, err := q.Request(r.Context(), r.PathValue("id"))
	switch {
	case found:
		writeJSON(w, http.StatusOK, viewOf(&request))
	case err != nil:
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": "the tracker can't be reached"})
	default:
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "unknown id"})
	}
}

// Efficiency is how well the workers are used, as ServeEfficiency tells it.
type Efficiency struct {
	Active         int     `json:"active_threads"` // handlers that run
	Total          int     `json:"total_threads"`  // those that may
	Percentage     float64 `json:"efficiency_percentage"`
	Recommendation string  `json:"recommendation"`
}

// ServeEfficiency answers with the share of the workers that are at work, and what to make of it, as JSON: an http.HandlerFunc.
func (q *Queue[T, R]) ServeEfficiency(w http.ResponseWriter, _ *http.Request) {
	s := q.Stats()
	e := Efficiency{Active: s.Active, Total: s.Concurrency, Percentage: 100 * s.Utilisation, Recommendation: "as it should be"}
	switch {
	case s.Paused:
		e.Recommendation = "paused"
	case s.Stuck*10 > s.Concurrency:
		e.Recommendation = "find out why handlers are stuck"
	case s.Waiting > 0 && s.Utilisation >= 0.99:
		e.Recommendation = "all are busy and jobs wait: raise the concurrency, if memory, processors and those whom the handlers call allow"
	case s.Waiting == 0 && s.Utilisation < 0.5:
		e.Recommendation = "a lower concurrency would do now"
	}
	writeJSON(w, http.StatusOK, e)
}

// view is a request for people: results are JSON already.
type view struct {
	Queue      string          `json:"queue"`
	ID         string          `json:"id"`
	Key        string          `json:"key,omitempty"`
	Priority   int             `json:"priority,omitempty"`
	Deadline   time.Time       `json:"deadline,omitzero"`
	Status     string          `json:"status"`
	Worker     string          `json:"worker,omitempty"`
	Attempts   int             `json:"attempts"`
	Created    time.Time       `json:"created_at,omitzero"`
	Queued     time.Time       `json:"queued_at,omitzero"`
	Started    time.Time       `json:"started_at,omitzero"`
	Completed  time.Time       `json:"completed_at,omitzero"`
	Processing float64         `json:"processing_seconds,omitempty"`
	Steps      []stepView      `json:"steps,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Error      string          `json:"error,omitempty"`
}

type stepView struct {
	Name    string          `json:"name"`
	Attempt int             `json:"attempt"`
	Started time.Time       `json:"started_at"`
	Took    float64         `json:"took_seconds"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
}

func viewOf(r *TrackedRequest) view {
	v := view{
		Queue: r.Queue, ID: r.ID, Key: r.Key, Priority: r.Priority, Deadline: r.Deadline, Status: r.Status, Worker: r.Worker, Attempts: r.Attempts,
		Created: r.Created, Queued: r.Queued, Started: r.Started, Completed: r.Completed, Processing: r.Processing.Seconds(), Result: raw(r.Result), Error: r.Error,
	}
	for _, s := range r.Steps {
		v.Steps = append(v.Steps, stepView{Name: s.Name, Attempt: s.Attempt, Started: s.Started, Took: s.Took.Seconds(), Result: raw(s.Result), Error: s.Error})
	}
	return v
}

// raw is text as it is if it is JSON. Somebody else may have written it.
func raw(text []byte) json.RawMessage {
	if len(text) == 0 || json.Valid(text) {
		return text
	}
	quoted, _ := json.Marshal(string(text)) // can't fail
	return quoted
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}
