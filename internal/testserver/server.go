package testserver

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Server is a private server process that a test may break. Its methods block until what they do is done, at most half a
// minute, and fail the test otherwise.
type Server struct {
	tb   testing.TB
	spec spec
	port int

	mu   sync.Mutex // one operation at a time
	proc *proc      // the newest run
}

// spec tells one kind of server from another.
type spec struct {
	dir   string
	owner *account
	// bus is whether the port of a Cluster bus is needed.
	bus  bool
	argv func(port int) []string
	// ready says whether the server at addr answers; nil if it does.
	ready func(ctx context.Context, addr string) error
	// stop is the signal for an orderly end.
	stop syscall.Signal
	// clean removes what a killed server leaves outside of its folder; may be nil.
	clean func()
}

// launch starts a server on a free port and waits until it answers.
func launch(ctx context.Context, spec spec) (*Server, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var err error
	for range 10 {
		s := &Server{spec: spec}
		if s.port, err = holdPort(ctx, spec.bus); err != nil {
			return nil, err
		}
		if err = s.start(ctx); err == nil {
			return s, nil
		}
		s.discard(ctx)
		// Somebody may take a port between our look and the server's.
		if !strings.Contains(err.Error(), "ddress already in use") {
			break
		}
	}
	return nil, errors.Join(err, os.RemoveAll(spec.dir))
}

// Addr is the host and port, which never change.
func (s *Server) Addr() string { return localAddr(s.port) }

// PID is the process id, 0 when the server is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.proc.running() {
		return 0
	}
	return s.proc.pid()
}

// Kill ends the server and its children as kill -9 does, paused or not. One that has ended stays so.
func (s *Server) Kill() {
	s.tb.Helper()
	s.do("kill", func(ctx context.Context) error {
		if !s.proc.running() {
			return nil
		}
		return s.proc.kill(ctx)
	})
}

// Stop ends the server in an orderly way, connections notwithstanding. One that has ended stays so.
func (s *Server) Stop() {
	s.tb.Helper()
	s.do("stop", s.stop)
}

// Start runs the server again, on the same port with the data that it had, and returns when it answers.
func (s *Server) Start() {
	s.tb.Helper()
	s.do("start", s.start)
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.tb.Helper()
	s.do("restart", func(ctx context.Context) error {
		return errors.Join(s.stop(ctx), s.start(ctx))
	})
}

// Pause stops the server and its children in their tracks until Resume: the kernel still accepts connections and bytes for
// it, but nothing is read or answered.
func (s *Server) Pause() {
	s.tb.Helper()
	s.do("pause", func(context.Context) error {
		if !s.proc.running() {
			return errors.New("not running")
		}
		_, err := s.proc.freeze()
		return err
	})
}

// Resume ends a Pause.
func (s *Server) Resume() {
	s.tb.Helper()
	s.do("resume", func(context.Context) error {
		if !s.proc.running() {
			return errors.New("not running")
		}
		return s.proc.thaw()
	})
}

// do runs one operation and fails the test if it fails.
func (s *Server) do(verb string, f func(context.Context) error) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	within(s.tb, verb+" the server at "+s.Addr(), f)
}

// within gives f half a minute, and fails the test if f fails.
func within(tb testing.TB, what string, f func(context.Context) error) {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	if err := f(ctx); err != nil {
		tb.Fatalf("testserver: %s: %v", what, err)
	}
}

func (s *Server) start(ctx context.Context) error {
	if s.proc.running() {
		return errors.New("already running")
	}
	p, err := startProc(s.spec.dir, s.spec.owner, s.spec.argv(s.port)...)
	if err != nil {
		return err
	}
	s.proc = p
	return p.ready(ctx, func(ctx context.Context) error { return s.spec.ready(ctx, s.Addr()) })
}

func (s *Server) stop(ctx context.Context) error {
	if !s.proc.running() {
		return nil
	}
	return errors.Join(s.proc.thaw(), s.proc.end(ctx, s.spec.stop))
}

// discard ends the server at once, whatever its state.
func (s *Server) discard(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc.running() {
		ctx, cancel := bounded(ctx)
		defer cancel()
		_ = s.proc.kill(ctx) // what is left falls to the reaper
	}
	if s.spec.clean != nil {
		s.spec.clean()
	}
}

// give binds the server to a test: it ends with it.
func (s *Server) give(tb testing.TB) {
	tb.Helper()
	s.tb = tb
	tb.Cleanup(func() {
		s.discard(tb.Context())
		if err := os.RemoveAll(s.spec.dir); err != nil {
			tb.Errorf("testserver: %v", err)
		}
	})
}
