//go:build unix

package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

const (
	hasSignals = true
	sigStop    = syscall.SIGSTOP
	sigCont    = syscall.SIGCONT
)

// ownGroup puts cmd in a process group of its own, out of the way of an interrupt from the terminal, and under the account
// if there is one.
func ownGroup(cmd *exec.Cmd, owner *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if owner != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(owner.uid), Gid: uint32(owner.gid)}
	}
}

// signalPID sends sig; a process that has ended is no error.
func signalPID(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("testserver: send %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// unprivileged is the account for servers that refuse to run as root: nil unless this process does.
func unprivileged() (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // no account is needed
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil {
			return &account{uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("testserver: Postgres refuses to run as root, and there is no account postgres or nobody")
}
