package queuetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/queue"
)

// Memory is a tracker that forgets everything with the process. Several queues may share it, to play several processes. The zero Memory is empty. Safe for
// concurrent use.
type Memory struct {
	mu       sync.Mutex
	requests map[key]*kept
	leases   map[key]time.Time // by queue and owner: until when they hold
	samples  []queue.Sample
	fault    func(call string) (before, after error)
}

type key struct{ queue, id string }

type kept struct {
	queue.TrackedRequest
	order int64
}

// Outage is an error that a queue takes for one.
var Outage error = outage{}

type outage struct{}

func (outage) Error() string     { return "queuetest: outage" }
func (outage) IsTransient() bool { return true }

// Fail has f asked at every call of a method what goes wrong: before it has done its work, or after. A nil f ends that.
func (m *Memory) Fail(f func(method string) (before, after error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// call runs one method, unless it is to fail.
func (m *Memory) call(ctx context.Context, method string, f func() error) error {
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	var before, after error
	if fault != nil {
		before, after = fault(method)
	}
	if err := errors.Join(ctx.Err(), before); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.requests == nil {
		m.requests, m.leases = make(map[key]*kept), make(map[key]time.Time)
	}
	return errors.Join(f(), after)
}

// Hold is queue.Tracker's.
func (m *Memory) Hold(ctx context.Context, name, owner string, d time.Duration) (lapsed bool, err error) {
	err = m.call(ctx, "Hold", func() error {
		until, known := m.leases[key{name, owner}]
		lapsed = known && !until.After(time.Now())
		m.leases[key{name, owner}] = time.Now().Add(d)
		return nil
	})
	return lapsed, err
}

// Accept is queue.Tracker's.
func (m *Memory) Accept(ctx context.Context, owner string, requests []queue.TrackedRequest) (known []queue.TrackedRequest, err error) {
	err = m.call(ctx, "Accept", func() error {
		for _, r := range requests {
			k := key{r.Queue, r.ID}
			if first := m.requests[k]; first != nil {
				known = append(known, clone(first.TrackedRequest))
				continue
			}
			m.requests[k] = &kept{clone(r), int64(len(m.requests))}
			m.requests[k].Owner = owner
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// Transition is queue.Tracker's.
func (m *Memory) Transition(ctx context.Context, owner string, requests []queue.TrackedRequest) (superseded []string, err error) {
	err = m.call(ctx, "Transition", func() error {
		for _, r := range requests {
			is := m.requests[key{r.Queue, r.ID}]
			if is == nil || is.Owner != owner || finished(is.Status) && (is.Status != r.Status || string(is.Result) != string(r.Result) || is.Error != r.Error) {
				superseded = append(superseded, r.ID)
				continue
			}
			r.Payload, r.Key, r.MaxAttempts, r.Created, r.Owner = is.Payload, is.Key, is.MaxAttempts, is.Created, owner
			is.TrackedRequest = clone(r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return superseded, nil
}

// Unfinished is queue.Tracker's.
func (m *Memory) Unfinished(ctx context.Context, name, owner string, limit int) (left []queue.TrackedRequest, err error) {
	err = m.call(ctx, "Unfinished", func() error {
		if !m.leases[key{name, owner}].After(time.Now()) {
			return errors.Join(Outage, errors.New("queuetest: an owner without a lease takes nothing over"))
		}
		byAge := slices.SortedFunc(maps.Values(m.requests), func(a, b *kept) int { return int(a.order - b.order) })
		for _, r := range byAge {
			if len(left) < limit && r.Queue == name && r.Owner != owner && !finished(r.Status) && !m.leases[key{name, r.Owner}].After(time.Now()) {
				r.Owner = owner
				left = append(left, clone(r.TrackedRequest))
			}
		}
		return nil
	})
	return left, err
}

// Release is queue.Tracker's.
func (m *Memory) Release(ctx context.Context, name, owner string) error {
	return m.call(ctx, "Release", func() error {
		delete(m.leases, key{name, owner})
		return nil
	})
}

// Request is queue.Tracker's.
func (m *Memory) Request(ctx context.Context, name, id string) (r queue.TrackedRequest, found bool, err error) {
	err = m.call(ctx, "Request", func() error {
		if is := m.requests[key{name, id}]; is != nil {
			r, found = clone(is.TrackedRequest), true
		}
		return nil
	})
	return r, found, err
}

// RecordQueue is queue.Tracker's.
func (m *Memory) RecordQueue(ctx context.Context, samples []queue.Sample) error {
	return m.call(ctx, "RecordQueue", func() error {
		m.samples = append(m.samples, samples...)
		return nil
	})
}

// Requests returns all requests, in the order in which they were accepted.
func (m *Memory) Requests() []queue.TrackedRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	byAge := slices.SortedFunc(maps.Values(m.requests), func(a, b *kept) int { return int(a.order - b.order) })
	all := make([]queue.TrackedRequest, len(byAge))
	for i, r := range byAge {
		all[i] = clone(r.TrackedRequest)
	}
	return all
}

// Samples returns what RecordQueue was given.
func (m *Memory) Samples() []queue.Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.samples)
}

func finished(status string) bool {
	return status == queue.StatusCompleted || status == queue.StatusFailed || status == queue.StatusCancelled
}

func clone(r queue.TrackedRequest) queue.TrackedRequest {
	r.Payload, r.Result, r.Steps = slices.Clone(r.Payload), slices.Clone(r.Result), slices.Clone(r.Steps)
	return r
}

var _ queue.Tracker = (*Memory)(nil)
