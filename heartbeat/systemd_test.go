//go:build unix

package heartbeat_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// hear listens as systemd does, and returns what it is told.
func hear(t *testing.T, socket string) <-chan string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	told := make(chan string, 1000)
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	return told
}

func await(t *testing.T, told <-chan string) string {
	t.Helper()
	select {
	case state := <-told:
		return state
	case <-time.After(eventually):
		require.Fail(t, "systemd was told nothing")
		return ""
	}
}

func shortSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") //nolint:usetesting // the name of a socket may have 108 bytes, which T.TempDir exceeds
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "n")
}

func TestManager_TellsSystemd(t *testing.T) {
	t.Parallel()
	sockets := map[string]string{"path": shortSocket(t)}
	if runtime.GOOS == "linux" {
		sockets["abstract"] = "@" + unique(t)
	}
	for name, socket := range sockets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := hear(t, socket)
			m, _ := newManager(t, heartbeat.ManagerConfig{
				StartupGrace: -1, Systemd: heartbeat.Systemd{Socket: socket, Watchdog: 100 * time.Millisecond},
			})
			loop := m.Progress("fetch", time.Hour)
			loop.Mark()
			stop := run(t, m)
			awaitReady(t, told)
			for range 3 {
				require.Equal(t, "WATCHDOG=1", await(t, told))
			}
			require.NoError(t, stop())
			for state := await(t, told); state != "STOPPING=1"; state = await(t, told) {
				require.Equal(t, "WATCHDOG=1", state)
			}
		})
	}
}

// awaitReady lets the watchdog be fed before that.
func awaitReady(t *testing.T, told <-chan string) {
	t.Helper()
	for state := await(t, told); state != "READY=1"; state = await(t, told) {
		require.Equal(t, "WATCHDOG=1", state)
	}
}

func TestManager_StuckLoopFeedsNoWatchdog(t *testing.T) {
	t.Parallel()
	socket := shortSocket(t)
	told := hear(t, socket)
	m, _ := newManager(t, heartbeat.ManagerConfig{
		StartupGrace: -1, Systemd: heartbeat.Systemd{Socket: socket, Watchdog: 20 * time.Millisecond},
	})
	loop := m.Progress("fetch", 100*time.Millisecond)
	loop.Rest()
	stop := run(t, m)
	awaitReady(t, told)
	require.Equal(t, "WATCHDOG=1", await(t, told))
	loop.Mark()
	require.Eventually(t, func() bool { return m.Stats().Stuck != nil }, eventually, time.Millisecond)
	for len(told) > 0 { // told before it was stuck
		<-told
	}
	<-time.After(300 * time.Millisecond) // thirty times when it would have been told
	require.LessOrEqual(t, len(told), 1, "none while stuck, but one that was on its way")
	for len(told) > 0 {
		<-told
	}
	loop.Rest()
	require.Equal(t, "WATCHDOG=1", await(t, told))
	require.NoError(t, stop())
}

func TestManager_DrainingFeedsTheWatchdog(t *testing.T) {
	t.Parallel()
	socket := shortSocket(t)
	told := hear(t, socket)
	m, _ := newManager(t, heartbeat.ManagerConfig{
		StartupGrace: -1, Systemd: heartbeat.Systemd{Socket: socket, Watchdog: 100 * time.Millisecond},
	})
	loop := m.Progress("fetch", 200*time.Millisecond)
	loop.Mark()
	stop := run(t, m)
	awaitReady(t, told)
	m.Drain() // and the loop takes no more work
	require.Eventually(t, func() bool { return m.Stats().Stuck != nil }, eventually, time.Millisecond)
	for len(told) > 0 { // told before that
		<-told
	}
	for range 3 {
		require.Equal(t, "WATCHDOG=1", await(t, told))
	}
	require.NoError(t, stop())
}

func TestManager_TellsSystemdOnceReady(t *testing.T) {
	t.Parallel()
	socket := shortSocket(t)
	told := hear(t, socket)
	m, _ := newManager(t, heartbeat.ManagerConfig{Systemd: heartbeat.Systemd{Socket: socket, Watchdog: time.Millisecond}})
	var ready atomic.Bool
	asked := make(chan struct{}, 100)
	m.ReadyWhen("db", func(context.Context) error {
		select {
		case asked <- struct{}{}:
		default:
		}
		if ready.Load() {
			return nil
		}
		return errors.New("not yet")
	})
	stop := run(t, m)
	<-asked
	<-asked
	require.Equal(t, "WATCHDOG=1", await(t, told), "it lives, whatever it waits for")
	for len(told) > 0 {
		require.Equal(t, "WATCHDOG=1", <-told)
	}
	ready.Store(true)
	awaitReady(t, told)
	require.NoError(t, stop())
}

func TestManager_LostSystemdIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var log journal
	m, _ := newManager(t, heartbeat.ManagerConfig{
		Config:  heartbeat.Config{Logger: log.logger()},
		Systemd: heartbeat.Systemd{Socket: shortSocket(t), Watchdog: time.Millisecond},
	})
	stop := run(t, m)
	require.Eventually(t, func() bool { return log.count("notifications of systemd do not get through") == 1 }, eventually, time.Millisecond)
	require.NoError(t, stop())
	require.Equal(t, 1, log.count("level=WARN"), "%s", &log)
}
