//go:build !unix

package testserver

import (
	"os/exec"
	"syscall"
)

// Nothing below is reached: without signals no server is started.

const (
	hasSignals = false
	sigStop    = syscall.Signal(-1)
	sigCont    = syscall.Signal(-1)
)

func ownGroup(*exec.Cmd, *account) {}

func signalPID(int, syscall.Signal) error { return errNoSignals }

func unprivileged() (*account, error) { return nil, errNoSignals }
