package rules

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/store"
)

// Key is what a request is known by.
type Key struct{ Queue, ID string }

// KeyOf is the key of r.
func KeyOf(r *store.Request) Key { return Key{r.Queue, r.ID} }

// ByRequest orders requests so that writers that overlap wait for each other instead of deadlocking.
func ByRequest(a, b *store.Request) int {
	return cmp.Or(strings.Compare(a.Queue, b.Queue), strings.Compare(a.ID, b.ID))
}

// Finished reports whether a status is final.
func Finished(status string) bool {
	return status == store.RequestCompleted || status == store.RequestFailed || status == store.RequestCancelled
}

// NewRequests returns a copy of requests as owner's, as they will be stored and read back, or which of them can't be. It shares no
// bytes with requests: a caller that was cancelled has its own back while they are stored with those of others.
func NewRequests(owner string, requests []store.Request) ([]store.Request, error) {
	admitted, err := admitRequests(owner, requests, func(status string) string {
		if status != store.RequestQueued && status != store.RequestProcessing {
			return fmt.Sprintf("Status is %q: a new request is %q or %q", cutName(status), store.RequestQueued, store.RequestProcessing)
		}
		return ""
	})
	for i := range admitted {
		r := &admitted[i]
		r.Payload, r.Result = bytes.Clone(r.Payload), bytes.Clone(r.Result)
		for j := range r.Steps {
			r.Steps[j].Result = bytes.Clone(r.Steps[j].Result)
		}
	}
	return admitted, err
}

// Transitions is NewRequests for requests that were accepted, sorted by key. Of those that come twice, the first that is finished
// stays, else the last.
func Transitions(owner string, requests []store.Request) ([]*store.Request, error) {
	admitted, err := admitRequests(owner, requests, func(status string) string {
		if status != store.RequestQueued && status != store.RequestProcessing && !Finished(status) {
			return fmt.Sprintf("Status is %q: want %q, %q, %q, %q or %q", cutName(status), store.RequestQueued, store.RequestProcessing,
				store.RequestCompleted, store.RequestFailed, store.RequestCancelled)
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	newest := make(map[Key]*store.Request, len(admitted))
	folded := make([]*store.Request, 0, len(admitted))
	for i := range admitted {
		r := &admitted[i]
		if known, twice := newest[KeyOf(r)]; !twice {
			newest[KeyOf(r)] = r
			folded = append(folded, r)
		} else if !Finished(known.Status) {
			*known = *r
		}
	}
	slices.SortFunc(folded, ByRequest)
	return folded, nil
}

// SameOutcome reports whether both are finished in the same way.
func SameOutcome(a, b *store.Request) bool {
	return Finished(a.Status) && a.Status == b.Status && string(a.Result) == string(b.Result) && a.Error == b.Error
}

func admitRequests(owner string, requests []store.Request, badStatus func(string) string) ([]store.Request, error) {
	if err := Owner(owner); err != nil {
		return nil, err
	}
	var refused []*store.RowError
	admitted := slices.Clone(requests)
	for i := range admitted {
		r := &admitted[i]
		if reason := cmp.Or(badRequest(r), badStatus(r.Status)); reason != "" {
			refused = append(refused, &store.RowError{Index: i, Queue: r.Queue, ID: r.ID, Reason: reason})
			continue
		}
		normalise(r, owner)
	}
	if len(refused) > 0 {
		return nil, &store.RefusedRowsError{Rows: refused}
	}
	return admitted, nil
}

// Owner returns what is wrong with the name of an owner.
func Owner(owner string) error { return wrongName("owner", owner) }

// Lease returns what is wrong with the parameters of a lease.
func Lease(queue, owner string, d time.Duration) error {
	if d < time.Millisecond || d > 24*time.Hour {
		return fmt.Errorf("store: a lease of %s: want %s to %s", d, time.Millisecond, 24*time.Hour)
	}
	return OwnerOf(queue, owner)
}

// OwnerOf returns what is wrong with the names of an owner and its queue.
func OwnerOf(queue, owner string) error { return cmp.Or(wrongName("queue", queue), Owner(owner)) }

func wrongName(what, s string) error {
	if reason := cmp.Or(emptyName(s), badName(s)); reason != "" {
		return fmt.Errorf("store: %s %s", what, reason)
	}
	return nil
}

func emptyName(s string) string {
	if s == "" {
		return "is empty"
	}
	return ""
}

func badRequest(r *store.Request) string {
	for _, name := range [...]struct {
		field, value string
		needed       bool
	}{{"Queue", r.Queue, true}, {"ID", r.ID, true}, {"Key", r.Key, false}, {"Worker", r.Worker, false}} {
		reason := badName(name.value)
		if name.needed {
			reason = cmp.Or(emptyName(name.value), reason)
		}
		if reason != "" {
			return name.field + " " + reason
		}
	}
	for _, t := range [...]struct {
		field string
		value time.Time
	}{{"Deadline", r.Deadline}, {"Created", r.Created}, {"Queued", r.Queued}, {"Started", r.Started}, {"Completed", r.Completed}} {
		if badTime(t.value) {
			return t.field + " is not of the years 1 to 9999"
		}
	}
	if outside32(r.Priority) || outside32(r.Attempts) || outside32(r.MaxAttempts) {
		return "Priority, Attempts or MaxAttempts exceeds 32 bits"
	}
	return badBytes(r)
}

func badBytes(r *store.Request) string {
	steps := 0
	for i := range r.Steps {
		if badTime(r.Steps[i].Started) {
			return fmt.Sprintf("Steps[%d].Started is not of the years 1 to 9999", i)
		}
		steps += len(r.Steps[i].Result) + len(r.Steps[i].Error) + len(r.Steps[i].Name)
	}
	for _, part := range [...]struct {
		field string
		size  int
	}{{"Payload has", len(r.Payload)}, {"Result has", len(r.Result)}, {"Steps have", steps}} {
		if part.size > store.MaxBytes {
			return fmt.Sprintf("%s %d bytes: at most %d are kept", part.field, part.size, store.MaxBytes)
		}
	}
	return ""
}

func badTime(t time.Time) bool { y := t.UTC().Year(); return y < 1 || y > 9999 }

func outside32(n int) bool { return n < math.MinInt32 || n > math.MaxInt32 }

// normalise brings r into the form in which it is read back.
func normalise(r *store.Request, owner string) {
	r.Owner = owner
	for _, t := range []*time.Time{&r.Deadline, &r.Created, &r.Queued, &r.Started, &r.Completed} {
		*t = micros(*t)
	}
	r.Error = clean(r.Error)
	r.Payload, r.Result = orNil(r.Payload), orNil(r.Result)
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		s := &r.Steps[i]
		s.Started, s.Name, s.Error, s.Result = micros(s.Started), clean(s.Name), clean(s.Error), orNil(s.Result)
	}
	if len(r.Steps) == 0 {
		r.Steps = nil
	}
}

func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// clean makes a text storable: an outcome is worth more than the bytes of its error.
func clean(text string) string {
	if len(text) > store.MaxErrorBytes {
		text = text[:store.MaxErrorBytes]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}

func cutName(s string) string { return s[:min(len(s), 80)] }

// Steps is how steps are stored: JSON, or nothing.
func Steps(r *store.Request) string {
	if len(r.Steps) == 0 {
		return ""
	}
	text, err := json.Marshal(r.Steps)
	if err != nil {
		panic(err) // admitted steps have nothing that can't be encoded
	}
	return string(text)
}

// ParseSteps reads what Steps gave.
func ParseSteps(text string) (steps []store.Step, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &steps); err != nil {
		return nil, fmt.Errorf("stored steps: %w", err)
	}
	return steps, nil
}

// SizeOf is about how many bytes the requests take.
func SizeOf(requests []store.Request) int {
	size := 0
	for i := range requests {
		size += sizeOf(&requests[i])
	}
	return size
}

func sizeOf(r *store.Request) int {
	const rest = 256 // times, numbers and names
	size := rest + len(r.Payload) + len(r.Result) + len(r.Error)
	for i := range r.Steps {
		size += rest + 2*len(r.Steps[i].Result) + len(r.Steps[i].Error)
	}
	return size
}

// RequestChunks cuts requests into runs of at most so many requests and bytes, and of at least one request.
func RequestChunks(requests []*store.Request, maxRequests, maxBytes int) iter.Seq[[]*store.Request] {
	return func(yield func([]*store.Request) bool) {
		start, size := 0, 0
		for i, r := range requests {
			if i > start && (i-start >= maxRequests || size+sizeOf(r) > maxBytes) {
				if !yield(requests[start:i]) {
					return
				}
				start, size = i, 0
			}
			size += sizeOf(r)
		}
		if start < len(requests) {
			yield(requests[start:])
		}
	}
}

// RequestKey returns what is wrong with the key of a request.
func RequestKey(queue, id string) error {
	return cmp.Or(wrongName("queue", queue), wrongName("id", id))
}
