package store

import "time"

// What a request may hold at most. A store refuses, by name, a request that has more.
const (
	MaxBytes      = 16 << 20 // Payload, Result, the results of all steps: the bytes of each
	MaxErrorBytes = 64 << 10 // Error: a longer one is cut
)

// States of a request. The last three are final: a request is in one of them once and for all.
const (
	RequestQueued     = "queued"
	RequestProcessing = "processing"
	RequestCompleted  = "completed"
	RequestFailed     = "failed"
	RequestCancelled  = "cancelled"
)

// Request is a piece of work that a queue has accepted. Queue and ID together are its key.
//
// It is an alias of an unnamed struct, so that a queue can name the same type without importing this package.
//
// Queue, ID, Key and Worker are UTF-8 without NUL bytes, at most [MaxNameBytes] long; Queue and ID can't be empty. Error, and
// the names and errors of steps, are made storable where they aren't. Times are of the years 1 to 9999, kept to the
// microsecond, and come back in UTC.
type Request = struct {
	Queue       string        `json:"queue"`
	ID          string        `json:"id"`
	Key         string        `json:"key,omitempty"`
	Priority    int           `json:"priority,omitempty"`
	Deadline    time.Time     `json:"deadline,omitzero"`
	Payload     []byte        `json:"payload,omitempty"` // any bytes
	Status      string        `json:"status"`            // one of RequestQueued to RequestCancelled
	Worker      string        `json:"worker,omitempty"`
	Attempts    int           `json:"attempts"`
	MaxAttempts int           `json:"max_attempts,omitempty"` // how often it is tried; 0 as the queue is configured
	Created     time.Time     `json:"created_at"`
	Queued      time.Time     `json:"queued_at,omitzero"`
	Started     time.Time     `json:"started_at,omitzero"`
	Completed   time.Time     `json:"completed_at,omitzero"`
	Processing  time.Duration `json:"processing_ns,omitempty"`
	Steps       []Step        `json:"steps,omitempty"`
	Result      []byte        `json:"result,omitempty"` // any bytes
	Error       string        `json:"error,omitempty"`
	Owner       string        `json:"owner,omitempty"` // set by the store
}

// Step is one step of a request's work.
type Step = struct {
	Name    string        `json:"name"`
	Attempt int           `json:"attempt"`
	Started time.Time     `json:"started_at"`
	Took    time.Duration `json:"took_ns"`
	Result  []byte        `json:"result,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// RequestQuery asks for requests, newest first: an unfinished one counts from when it was accepted, a finished one from when its
// end was recorded, both by the store's clock. The zero RequestQuery asks for the newest 100.
type RequestQuery struct {
	// Queue, Status, Key and Worker choose; empty means all. What fits rarely is looked for in all of From..To: give
	// the range that you need. Failed and cancelled requests are found without reading over those that completed.
	Queue  string
	Status string
	Key    string
	Worker string

	// From (included) and To (excluded) bound the time by which the pages are ordered; zero means no limit.
	From time.Time
	To   time.Time

	// Limit is the size of a page, 1 to 10,000; 0 means 100.
	Limit int

	// After goes on behind the page that gave it as its Next; nil starts at the newest one. A request that finishes
	// meanwhile moves to the front: behind the cursor, it is not met any more.
	After *RequestCursor
}

// RequestCursor is a place in the order of a RequestQuery.
type RequestCursor struct {
	At    time.Time `json:"at"`
	Queue string    `json:"queue"`
	ID    string    `json:"id"`
}

// RequestPage is one page of requests.
type RequestPage struct {
	Requests []Request `json:"requests"`

	// Next continues behind this page. It is nil on the last one.
	Next *RequestCursor `json:"next,omitempty"`
}

// RequestStatsQuery asks for the statistics of a queue, or of all if Queue is empty, from From (included) to To (excluded). A zero To
// is now, a zero From an hour before To.
type RequestStatsQuery struct {
	Queue string
	From  time.Time
	To    time.Time
}

// RequestStats are the figures of the requests whose end was recorded in a range of time, and of those that are unfinished now.
type RequestStats struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`

	Queued     int64 `json:"queued"`     // now
	Processing int64 `json:"processing"` // now
	Completed  int64 `json:"completed"`  // from From to To, as are the next two
	Failed     int64 `json:"failed"`
	Cancelled  int64 `json:"cancelled"`

	Throughput float64  `json:"throughput"` // requests finished per second
	Wait       Duration `json:"wait"`       // from Queued, or Created, to Started, of those that were started
	Run        Duration `json:"run"`        // Processing, of those that were started
}

// Duration sums up a set of durations. A percentile is the smallest one that at least so many percent don't exceed.
type Duration struct {
	Mean time.Duration `json:"mean_ns"`
	P50  time.Duration `json:"p50_ns"`
	P95  time.Duration `json:"p95_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
}

// QueueSample says how one shard of a queue stood in one process at one time. Queue and Worker follow the rules of a Request's.
//
// It is an alias of an unnamed struct, so that a queue can name the same type without importing this package.
type QueueSample = struct {
	Queue     string    `json:"queue"`
	Worker    string    `json:"worker"` // the process
	Shard     int       `json:"shard"`
	At        time.Time `json:"at"`
	Depth     int       `json:"depth"`
	Active    int       `json:"active"`
	Processed int64     `json:"processed"` // since the process started, as are the next two
	Failed    int64     `json:"failed"`
	Refused   int64     `json:"refused"`
}

// QueueSampleQuery asks for the samples of one queue, newest first.
type QueueSampleQuery struct {
	Queue  string    // must be given
	Worker string    // empty means all
	From   time.Time // included; zero means no limit
	To     time.Time // excluded; zero means no limit
	Limit  int       // 1 to 10,000; 0 means 100

	// After goes on behind the page that gave it as its Next; nil starts at the newest one.
	After *QueueSampleCursor
}

// QueueSampleCursor is a place in the samples of a queue.
type QueueSampleCursor struct {
	At     time.Time `json:"at"`
	Worker string    `json:"worker"`
	Shard  int       `json:"shard"`
}

// QueueSamplePage is one page of samples.
type QueueSamplePage struct {
	Samples []QueueSample `json:"samples"`

	// Next continues behind this page. It is nil on the last one.
	Next *QueueSampleCursor `json:"next,omitempty"`
}
