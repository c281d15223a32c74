package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

const maxChecks = 64

// LivezHandler answers 200 while no loop is stuck and 503 otherwise: a process that gets 503 is better restarted. While
// draining it is alive whatever its loops do. It follows the conventions of Kubernetes: what fails is listed, and with
// ?verbose everything. It doesn't block.
func (m *Manager) LivezHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, "livez", m.liveness())
	})
}

// ReadyzHandler answers 200 while the service should get work and 503 otherwise: before Run, while draining, while a
// loop is stuck, and while a check of ReadyWhen fails. It answers as LivezHandler does, and waits for the checks at most
// Config.CollectTimeout.
func (m *Manager) ReadyzHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, "readyz", m.readiness(r.Context()))
	})
}

// check is one thing that was looked at, and what is wrong with it.
type check struct {
	name string
	err  error
}

func failing(all []check) bool {
	return slices.ContainsFunc(all, func(c check) bool { return c.err != nil })
}

func (m *Manager) liveness() []check {
	loops := m.pub.loops.checks()
	if phase := m.pub.phase(); phase == PhaseDraining || phase == PhaseStopped {
		for i := range loops {
			loops[i].err = nil
		}
	}
	return append([]check{{name: "ping"}}, loops...)
}

func (m *Manager) readiness(ctx context.Context) []check {
	life := check{name: "running"}
	phase := m.pub.phase()
	switch {
	case !m.running.Load():
		life.err = errors.New("Run was not called yet")
	case phase == PhaseDraining, phase == PhaseStopped:
		return []check{{"running", errors.New("draining")}}
	}
	return append(append([]check{life}, m.pub.loops.checks()...), m.checks.ask(ctx)...)
}

// answer writes what probes expect.
func answer(w http.ResponseWriter, r *http.Request, name string, all []check) {
	failed := failing(all)
	var body strings.Builder
	for _, c := range all {
		if c.err != nil {
			fmt.Fprintf(&body, "[-]%s failed: %s\n", c.name, oneLine(c.err.Error(), 2*maxNameBytes))
		} else {
			fmt.Fprintf(&body, "[+]%s ok\n", c.name)
		}
	}
	status, text := http.StatusOK, "ok"
	switch {
	case failed:
		status, text = http.StatusServiceUnavailable, body.String()+name+" check failed\n"
	case r.URL.Query().Has("verbose"):
		text = body.String() + name + " check passed\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// checks are what readiness depends on. Safe for concurrent use.
type checks struct {
	timeout time.Duration
	turn    chan struct{} // who puts a token in may call the functions; a channel, for waiting must end with a context

	mu     sync.Mutex
	all    []*readyCheck    // in order of registration; guarded by mu
	failed map[string]error // by the newest answers; guarded by mu
	asked  time.Time        // when those were given; guarded by mu
}

type readyCheck struct {
	name string
	fn   func(context.Context) error
	busy chan struct{} // holds a token while fn runs
}

func (cs *checks) add(name string, fn func(context.Context) error) error {
	if err := ValidateName(name); err != nil {
		return fmt.Errorf("heartbeat: name of a check can't be used: %w", err)
	}
	if fn == nil {
		return fmt.Errorf("heartbeat: check %q has no function", name)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if slices.ContainsFunc(cs.all, func(c *readyCheck) bool { return c.name == name }) {
		return fmt.Errorf("heartbeat: check %q is there already", name)
	}
	if len(cs.all) >= maxChecks {
		return fmt.Errorf("heartbeat: check %q is one too many: want at most %d", name, maxChecks)
	}
	cs.all = append(cs.all, &readyCheck{name, fn, make(chan struct{}, 1)})
	return nil
}

// quotedFor is how long an answer is quoted when nobody asks again.
const quotedFor = 5 * time.Minute

// newest returns what failed when somebody last asked, unless that was long ago.
func (cs *checks) newest() map[string]error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if time.Since(cs.asked) > quotedFor {
		return nil
	}
	return cs.failed // replaced as a whole, never changed
}

// ask calls all functions side by side and waits for them until the timeout, or until the asker has gone.
func (cs *checks) ask(asker context.Context) []check {
	ctx, cancel := context.WithTimeoutCause(asker, cs.timeout, fmt.Errorf("no answer within %s", cs.timeout))
	defer cancel()
	cs.mu.Lock()
	all := slices.Clone(cs.all)
	cs.mu.Unlock()
	results := make([]check, len(all))
	select {
	case cs.turn <- struct{}{}:
		defer func() { <-cs.turn }()
	case <-ctx.Done():
		for i, c := range all {
			results[i] = check{c.name, context.Cause(ctx)}
		}
		return results
	}
	answers := make([]<-chan error, len(all))
	for i, c := range all {
		answers[i] = c.start(ctx)
	}
	failed := map[string]error{}
	for i, c := range all {
		results[i].name = c.name
		select {
		case results[i].err = <-answers[i]:
		case <-ctx.Done():
			results[i].err = context.Cause(ctx)
		}
		if results[i].err != nil {
			failed[c.name] = results[i].err
		}
	}
	if asker.Err() == nil { // else that says nothing about the service
		cs.mu.Lock()
		defer cs.mu.Unlock()
		cs.failed, cs.asked = failed, time.Now()
	}
	return results
}

// start calls the function in a goroutine of its own, unless an earlier call has not returned.
func (c *readyCheck) start(ctx context.Context) <-chan error {
	answer := make(chan error, 1) // room, so that nobody waits to be heard
	select {
	case c.busy <- struct{}{}:
	default:
		answer <- errors.New("an earlier call has not returned")
		return answer
	}
	go func() {
		err := errors.New("the check ended its goroutine")
		defer func() { // deferred, so that runtime.Goexit is reported too
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
			<-c.busy
			answer <- err
		}()
		if err = c.fn(ctx); err != nil {
			err = errors.New(err.Error()) // which may panic, and is not recovered later
		}
	}()
	return answer
}
