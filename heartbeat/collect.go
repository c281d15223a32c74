package heartbeat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxFieldName = 64
	maxReason    = 100 // bytes of a collector's error that go into a beat
)

// collectors are the functions that give a service its own fields. Safe for concurrent use, but only one collect
// may run at a time.
type collectors struct {
	timeout   time.Duration
	maxFields int
	maxBytes  int

	mu     sync.Mutex
	byName []*collector // sorted by name; guarded by mu

	running sync.WaitGroup // functions that have been called and have not returned
}

type collector struct {
	name  string
	fn    func(context.Context) (any, error)
	since atomic.Pointer[time.Time] // when the run in flight began; nil when there is none
}

// collected is what one run of a collector came to.
type collected struct {
	name string
	raw  json.RawMessage
	err  error
}

var errNoReturn = errors.New("the collector ended its goroutine")

func (cs *collectors) add(name string, fn func(context.Context) (any, error)) error {
	switch err := printable(name, maxFieldName); {
	case err != nil:
		return fmt.Errorf("heartbeat: collector name can't be used: %w", err)
	case strings.ContainsAny(name, `"\<>&`):
		return fmt.Errorf("heartbeat: collector name %q can't be used: want none of \" \\ < > &", name)
	case isReserved(name):
		return fmt.Errorf("heartbeat: collector name %q can't be used: every beat has a field of that name", name)
	case fn == nil:
		return fmt.Errorf("heartbeat: collector %q has no function", name)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	at, found := slices.BinarySearchFunc(cs.byName, name, func(c *collector, name string) int {
		return strings.Compare(c.name, name)
	})
	if found {
		return fmt.Errorf("heartbeat: collector %q is there already", name)
	}
	if len(cs.byName) >= cs.maxFields {
		return fmt.Errorf("heartbeat: collector %q is one too many: Config.MaxFields is %d", name, cs.maxFields)
	}
	cs.byName = slices.Insert(cs.byName, at, &collector{name: name, fn: fn})
	return nil
}

func (cs *collectors) snapshot() []*collector {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Clone(cs.byName)
}

// collect calls all collectors side by side and returns the fields of those that answered in time, and an error
// for each that did not. A function that ignores its context is left running and skipped until it returns.
func (cs *collectors) collect(ctx context.Context) ([]field, map[string]error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cs.timeout, fmt.Errorf("no value within %s", cs.timeout))
	defer cancel()
	all := cs.snapshot()
	results := make(chan collected, len(all)) // room for all: nobody ever waits to be heard
	pending, failed := make(map[string]bool, len(all)), map[string]error{}
	for _, c := range all {
		if ago, started := c.start(ctx, cs, results); started {
			pending[c.name] = true
		} else {
			failed[c.name] = fmt.Errorf("skipped: the run begun %s ago has not returned", ago.Round(time.Second))
		}
	}
	fields := make([]field, 0, len(all))
	for len(pending) > 0 {
		select {
		case r := <-results:
			delete(pending, r.name)
			if r.err != nil {
				failed[r.name] = r.err
			} else {
				fields = append(fields, field{r.name, r.raw})
			}
		case <-ctx.Done():
			for name := range pending {
				failed[name] = context.Cause(ctx)
			}
			clear(pending)
		}
	}
	return cs.fit(fields, failed), failed
}

// fit leaves out the largest fields until the rest is within maxBytes, and sorts that by name.
func (cs *collectors) fit(fields []field, failed map[string]error) []field {
	slices.SortFunc(fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(len(a.raw), len(b.raw)), strings.Compare(a.name, b.name))
	})
	total, kept := 0, len(fields)
	for i, f := range fields {
		if total += len(f.raw); total > cs.maxBytes {
			kept = min(kept, i)
			failed[f.name] = fmt.Errorf("left out: its %d bytes exceed what Config.MaxBytes of %d leaves", len(f.raw), cs.maxBytes)
		}
	}
	fields = fields[:kept]
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}

// stuck names the collectors that have been called and have not returned.
func (cs *collectors) stuck() []string {
	var names []string
	for _, c := range cs.snapshot() {
		if c.since.Load() != nil {
			names = append(names, c.name)
		}
	}
	return names
}

// start runs the collector in a goroutine of its own, unless an earlier run has not returned: then it says how long
// ago that began.
func (c *collector) start(ctx context.Context, cs *collectors, results chan<- collected) (time.Duration, bool) {
	now := time.Now()
	for !c.since.CompareAndSwap(nil, &now) {
		if since := c.since.Load(); since != nil {
			return now.Sub(*since), false
		}
	}
	cs.running.Go(func() {
		result := collected{name: c.name, err: errNoReturn}
		defer func() { // deferred, so that runtime.Goexit is reported too
			c.since.Store(nil)
			results <- result
		}()
		result.raw, result.err = c.value(ctx)
	})
	return 0, true
}

// value calls the function and encodes its result, both of them code of the user.
func (c *collector) value(ctx context.Context) (raw json.RawMessage, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	v, err := c.fn(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
