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
	interval  time.Duration
	timeout   time.Duration
	maxFields int
	maxBytes  int

	mu     sync.Mutex
	byName []*collector // sorted by name; guarded by mu

	running sync.WaitGroup // functions that have been called and have not returned

	life   context.Context // of runs that outlast the beat that started them
	cancel context.CancelCauseFunc
}

type collector struct {
	name   string
	every  time.Duration // 0 for with each beat
	fn     func(context.Context) (any, error)
	since  atomic.Pointer[time.Time] // when the run in flight began; nil when there is none
	newest atomic.Pointer[collected] // what the newest run came to that has returned
	due    time.Time                 // when one with a pace of its own is to run again; only collect uses it
}

// collected is what one run of a collector came to.
type collected struct {
	raw json.RawMessage
	err error
	at  time.Time
}

func newCollectors(cfg Config) collectors {
	life, cancel := context.WithCancelCause(context.Background())
	return collectors{
		interval: cfg.Interval, timeout: cfg.CollectTimeout, maxFields: cfg.MaxFields, maxBytes: cfg.MaxBytes,
		life: life, cancel: cancel,
	}
}

var errNoReturn = errors.New("the collector ended its goroutine")

func (cs *collectors) add(name string, every time.Duration, fn func(context.Context) (any, error)) error {
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
	cs.byName = slices.Insert(cs.byName, at, &collector{name: name, every: every, fn: fn})
	return nil
}

func (cs *collectors) snapshot() []*collector {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Clone(cs.byName)
}

// collect calls all collectors that are due side by side and returns the fields of those that answered in time or have
// a recent value, the ages of the latter, and an error for each of the others. A function that ignores its context is
// left running and skipped until it returns.
func (cs *collectors) collect(ctx context.Context) ([]field, map[string]time.Duration, map[string]error) {
	all, failed := cs.snapshot(), map[string]error{}
	if len(all) == 0 {
		return nil, nil, failed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cs.timeout, fmt.Errorf("no value within %s", cs.timeout))
	defer cancel()
	cs.await(ctx, all, failed)
	fields, ages := make([]field, 0, len(all)), map[string]time.Duration{}
	for _, c := range all {
		value := c.newest.Load()
		switch {
		case failed[c.name] != nil:
		case value.err != nil:
			failed[c.name] = value.err
		default:
			fields = append(fields, field{c.name, value.raw})
			if c.every > 0 {
				ages[c.name] = time.Since(value.at)
			}
		}
	}
	return cs.fit(fields, failed), ages, failed
}

// await starts what is due and waits for what has no value without, and says in failed why something still has none.
func (cs *collectors) await(ctx context.Context, all []*collector, failed map[string]error) {
	returned := make(chan string, len(all)) // room for all: nobody ever waits to be heard
	pending := make(map[string]bool, len(all))
	now := time.Now()
	for _, c := range all {
		started := false
		if !now.Before(c.due) {
			if started = c.start(ctx, cs, returned); started {
				c.due = now.Add(c.every)
			}
		}
		switch {
		case c.every > 0 && c.fresh(now, cs.interval):
		case started:
			pending[c.name] = true
		default:
			failed[c.name] = c.skipped(now)
		}
	}
	for len(pending) > 0 {
		select {
		case name := <-returned:
			delete(pending, name)
		case <-ctx.Done():
			for name := range pending {
				failed[name] = context.Cause(ctx)
			}
			clear(pending)
		}
	}
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

// start runs the collector in a goroutine of its own, unless an earlier run has not returned. One with a pace of its own
// has as long as that; the others have until ctx ends.
func (c *collector) start(ctx context.Context, cs *collectors, returned chan<- string) bool {
	now := time.Now()
	if !c.since.CompareAndSwap(nil, &now) {
		return false
	}
	cancel := context.CancelFunc(func() {})
	if c.every > 0 {
		ctx, cancel = context.WithTimeoutCause(cs.life, c.every, fmt.Errorf("no value within %s", c.every)) //nolint:contextcheck // it outlasts the beat on purpose
	}
	cs.running.Go(func() {
		result := &collected{err: errNoReturn}
		defer func() { // deferred, so that runtime.Goexit is reported too
			cancel()
			result.at = time.Now()
			c.newest.Store(result)
			c.since.Store(nil)
			returned <- c.name
		}()
		result.raw, result.err = c.value(ctx)
	})
	return true
}

// fresh says whether the newest run left a value, or an error, that is recent enough to be told. Beats come one
// interval apart, and a run that is due at one of them may take as long as its pace.
func (c *collector) fresh(now time.Time, interval time.Duration) bool {
	value := c.newest.Load()
	return value != nil && now.Sub(value.at) <= 2*c.every+2*interval
}

// skipped says why a collector was not run although it has no value.
func (c *collector) skipped(now time.Time) error {
	since := c.since.Load()
	if since == nil {
		return errors.New("no value yet") // the run has returned this moment
	}
	return fmt.Errorf("skipped: the run begun %s ago has not returned", now.Sub(*since).Round(time.Second))
}

// value calls the function and encodes its result, both of them code of the user.
func (c *collector) value(ctx context.Context) (raw json.RawMessage, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	v, err := c.fn(ctx)
	if err == nil {
		raw, err = json.Marshal(v)
	}
	if err != nil {
		// Its text is code of the user, too: with a nil pointer for an error it panics, and nobody recovers that later.
		return nil, errors.New(err.Error())
	}
	return raw, nil
}
