package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// fleet is the workers: operating-system processes of their own, each this
// same program started with the argument "worker".
type fleet struct {
	exe    string
	screen *screen
	wg     sync.WaitGroup
	procs  []*process
}

// process is one worker, seen from its parent.
type process struct {
	service string
	cmd     *exec.Cmd
	stdin   io.WriteCloser // closing it asks the worker to stop
	ended   chan struct{}
}

func newFleet(s *screen) (*fleet, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	return &fleet{exe: exe, screen: s}, nil
}

// start runs one more worker. Its configuration goes over standard input, where
// no process list shows it, and standard input stays open: a worker whose
// parent is gone, however it went, reads the end of it and stops.
func (f *fleet) start(ctx context.Context, cfg workerConfig) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), f.exe, "worker")
	cmd.Stderr = f.screen
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("worker %s: %w", cfg.Service, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("worker %s: %w", cfg.Service, err)
	}
	p := &process{service: cfg.Service, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	f.procs = append(f.procs, p)
	f.wg.Go(func() {
		defer close(p.ended)
		err := cmd.Wait()
		f.screen.event("%s ended: %s", p, exitReason(err))
	})
	if err := json.NewEncoder(stdin).Encode(cfg); err != nil {
		return fmt.Errorf("worker %s: %w", cfg.Service, err)
	}
	f.screen.event("%s started", p)
	return nil
}

// kill ends a worker the hard way: no goodbye.
func (f *fleet) kill(i int) {
	p := f.procs[i]
	f.screen.event("%s is killed hard: no goodbye, its silence has to be noticed", p)
	_ = p.cmd.Process.Kill() // it may have ended by itself
}

// stop asks a worker to end: it drains its queue and says goodbye.
func (f *fleet) stop(i int) {
	p := f.procs[i]
	f.screen.event("%s is asked to stop: it finishes its work and says goodbye", p)
	p.askToStop()
}

// askToStop sends SIGTERM, and closes standard input, which works where there are no signals.
func (p *process) askToStop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.stdin.Close()
}

// stopAll asks every worker to stop and waits for them; one that does not is killed.
func (f *fleet) stopAll(patience time.Duration) {
	deadline := time.AfterFunc(patience, func() {
		for _, p := range f.procs {
			_ = p.cmd.Process.Kill()
		}
	})
	defer deadline.Stop()
	for _, p := range f.procs {
		p.askToStop()
	}
	f.wg.Wait()
}

func (p *process) String() string { return fmt.Sprintf("%s (pid %d)", p.service, p.cmd.Process.Pid) }

func exitReason(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
