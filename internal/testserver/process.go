package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v3/process"
)

// patience bounds every wait for a server: to be ready, to end, to notice another. A Sentinel that got no processor for two seconds takes part in
// nothing for the next thirty (TILT), so it is longer than that.
const patience = 75 * time.Second

// bounded is a context for work that must go on when the test's own context has ended, in a cleanup, but not for ever.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), patience, fmt.Errorf("not done within %v", patience))
}

// proc is one run of a program, from start to end.
type proc struct {
	cmd *exec.Cmd
	dir string
	// ended is closed when the process is gone and its pid file with it.
	ended chan struct{}
}

// account is a user that a server runs as.
type account struct{ uid, gid int }

// startProc runs argv with its output in the file "log" of dir. The shell in between writes the pid before the program runs, so that
// the reaper misses none.
func startProc(dir string, owner *account, argv ...string) (*proc, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	defer log.Close()
	args := append([]string{"-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(dir, "pid")}, argv...)
	cmd := exec.Command("/bin/sh", args...) //nolint:noctx // a server outlives the context of the test that shares it
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C") // the log is searched for messages
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd, owner)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("testserver: start %s: %w", argv[0], err)
	}
	p := &proc{cmd: cmd, dir: dir, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // the exit status is in ProcessState
		_ = os.Remove(filepath.Join(dir, "pid"))
		_ = os.Remove(filepath.Join(dir, "frozen"))
	}()
	return p, nil
}

func (p *proc) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// ready polls until check succeeds, ctx ends, or the process does.
func (p *proc) ready(ctx context.Context, check func(context.Context) error) error {
	err := poll(ctx, func(ctx context.Context) error {
		if !p.running() {
			return permanent{errors.New(p.cmd.ProcessState.String())}
		}
		// Somebody else may be at the port, and never answer.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return check(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, p.logTail())
	}
	return nil
}

// end sends sig and waits until the process has ended.
func (p *proc) end(ctx context.Context, sig syscall.Signal) error {
	if err := signalPID(p.pid(), sig); err != nil {
		return err
	}
	return p.wait(ctx)
}

func (p *proc) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %d has not ended: %w; the end of its log:\n%s", p.pid(), context.Cause(ctx), p.logTail())
	}
}

// kill ends the process and its children as kill -9 does, and waits until all are gone.
func (p *proc) kill(ctx context.Context) error {
	children, err := p.freeze()
	if err != nil {
		return err
	}
	for _, pid := range children {
		err = errors.Join(err, signalPID(pid, syscall.SIGKILL))
	}
	if err := errors.Join(err, p.end(ctx, syscall.SIGKILL)); err != nil {
		return err
	}
	return poll(ctx, func(context.Context) error {
		if i := slices.IndexFunc(children, alive); i >= 0 {
			return fmt.Errorf("process %d has not ended", children[i])
		}
		return nil
	})
}

// freeze stops the process and its children, and returns these: the process first, so that no child is born unseen.
func (p *proc) freeze() (children []int, err error) {
	if err := signalPID(p.pid(), sigStop); err != nil {
		return nil, err
	}
	children, err = childrenOf(p.pid())
	if err != nil {
		return nil, err
	}
	// The reaper thaws what is in this file: a stopped process doesn't notice that its parent has died.
	if err := os.WriteFile(filepath.Join(p.dir, "frozen"), pidLines(children), 0o644); err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	for _, pid := range children {
		err = errors.Join(err, signalPID(pid, sigStop))
	}
	return children, err
}

// thaw undoes freeze, and does nothing to a process that runs.
func (p *proc) thaw() error {
	children, err := childrenOf(p.pid())
	if err != nil {
		return err
	}
	for _, pid := range append(children, p.pid()) {
		err = errors.Join(err, signalPID(pid, sigCont))
	}
	return err
}

func (p *proc) logTail() string {
	log, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

func pidLines(pids []int) []byte {
	var b bytes.Buffer
	for _, pid := range pids {
		b.WriteString(strconv.Itoa(pid) + "\n")
	}
	return b.Bytes()
}

func childrenOf(parent int) ([]int, error) {
	pids, err := process.Pids()
	if err != nil {
		return nil, fmt.Errorf("testserver: list processes: %w", err)
	}
	var children []int
	for _, pid := range pids {
		p := process.Process{Pid: pid}
		if ppid, err := p.Ppid(); err == nil && int(ppid) == parent { // an error: it has ended meanwhile
			children = append(children, int(pid))
		}
	}
	return children, nil
}

// alive is false for a zombie as well: what it held is free, and who its new parent is may never ask.
func alive(pid int) bool {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return false
	}
	status, err := p.Status()
	return err == nil && !slices.Contains(status, process.Zombie)
}

// permanent is an error that no further try will mend.
type permanent struct{ error }

func (e permanent) Unwrap() error { return e.error }

// poll calls check until it returns nil or a permanent error, or ctx ends; the last error tells what was missing.
func poll(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if p, ok := errors.AsType[permanent](err); ok {
			return p.error
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
