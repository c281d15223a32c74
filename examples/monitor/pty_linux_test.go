package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/term"
)

// terminal is a pseudo terminal, seen from both sides.
type terminal struct {
	outer, inner *os.File

	mu   sync.Mutex
	text strings.Builder // guarded by mu; what has been written to it
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	var unlock, number uint32
	ioctl(t, outer, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, outer, syscall.TIOCGPTN, unsafe.Pointer(&number))
	inner, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	tty := &terminal{outer: outer, inner: inner}
	t.Cleanup(func() { _, _ = inner.Close(), outer.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := outer.Read(buf)
			tty.mu.Lock()
			tty.text.Write(buf[:n])
			tty.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	tty.resize(t, 100, 24)
	return tty
}

func ioctl(t *testing.T, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	require.Zero(t, errno, "%v", errno)
}

func (tty *terminal) resize(t *testing.T, columns, rows uint16) {
	t.Helper()
	size := [4]uint16{rows, columns}
	ioctl(t, tty.outer, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

func (tty *terminal) shown() string {
	tty.mu.Lock()
	defer tty.mu.Unlock()
	return tty.text.String()
}

func (tty *terminal) await(t *testing.T, part string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(tty.shown(), part) }, 20*time.Second, 10*time.Millisecond, "%q", part)
}

func (tty *terminal) typed(t *testing.T, keys string) {
	t.Helper()
	_, err := tty.outer.WriteString(keys)
	require.NoError(t, err)
}

func TestWatch_TerminalIsGivenBackHoweverItEnds(t *testing.T) {
	t.Parallel()
	server := redisWith(t, map[string]time.Duration{"alive": 0})
	for name, end := range map[string]func(*testing.T, *terminal, *exec.Cmd){
		"interrupt key": func(t *testing.T, tty *terminal, _ *exec.Cmd) { t.Helper(); tty.typed(t, "\x03") },
		"q":             func(t *testing.T, tty *terminal, _ *exec.Cmd) { t.Helper(); tty.typed(t, "q") },
		"SIGTERM": func(t *testing.T, _ *terminal, cmd *exec.Cmd) {
			t.Helper()
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		},
		"SIGINT": func(t *testing.T, _ *terminal, cmd *exec.Cmd) {
			t.Helper()
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tty := openTerminal(t)
			before, err := term.GetState(int(tty.inner.Fd()))
			require.NoError(t, err)
			cmd := command(t, "-redis", server.URL())
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.inner, tty.inner, tty.inner
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			require.NoError(t, cmd.Start())
			tty.await(t, takeOver)
			tty.await(t, "alive/worker-1")
			require.NotContains(t, tty.shown(), "\x1b[40;1H")
			tty.typed(t, "zzz\r\x1a")
			tty.resize(t, 100, 40)
			tty.await(t, "\x1b[40;1H")

			end(t, tty, cmd)
			tty.await(t, giveBack)
			require.NoError(t, cmd.Wait())
			after, err := term.GetState(int(tty.inner.Fd()))
			require.NoError(t, err)
			require.Equal(t, before, after)
			require.NotContains(t, tty.shown(), "zzz", "nothing that is typed is shown")
			left := func() string { _, left, _ := strings.Cut(tty.shown(), giveBack); return left }
			require.Eventually(t, func() bool { return strings.Contains(left(), "alive/worker-1") }, 20*time.Second, 10*time.Millisecond, "the last frame stays")
			require.NotContains(t, left(), "\x1b")
		})
	}
}

// Redis is nowhere: the table says so, and ^C ends it all the same.
func TestWatch_NoRedis(t *testing.T) {
	t.Parallel()
	tty := openTerminal(t)
	cmd := command(t, "-redis", "redis://127.0.0.1:1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.inner, tty.inner, tty.inner
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	tty.await(t, "NOT LISTENING YET")
	tty.await(t, "127.0.0.1:1 can't be asked yet, trying on")
	tty.await(t, "BLIND since")
	tty.typed(t, "\x03")
	tty.await(t, giveBack)
	require.NoError(t, cmd.Wait())
}
