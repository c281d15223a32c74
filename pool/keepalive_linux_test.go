package pool_test

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

func TestProfile_KeepAliveReachesTheSocket(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		keepAlive                        pool.KeepAlive
		on, idle, interval, probes, wait int
	}{
		"default": {pool.KeepAlive{}, 1, 30, 5, 3, 45_000},
		"patient": {pool.PatientKeepAlive(), 1, 600, 60, 3, 780_000},
		"off":     {keepAlive: pool.KeepAlive{Idle: -1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := shared(t)
			cfg.Profile.KeepAlive = tt.keepAlive
			conn, err := open(t, cfg).Standard().(*redis.Client).Options().Dialer(t.Context(), "tcp", sharedAddr(t))
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			raw, err := conn.(syscall.Conn).SyscallConn()
			require.NoError(t, err)
			option := func(level, name int) (value int) {
				require.NoError(t, raw.Control(func(fd uintptr) {
					var err error
					value, err = syscall.GetsockoptInt(int(fd), level, name)
					require.NoError(t, err)
				}))
				return value
			}
			require.Equal(t, tt.on, option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
			require.Equal(t, tt.wait, option(syscall.IPPROTO_TCP, 18), "TCP_USER_TIMEOUT")
			if tt.on == 1 { // the system's own values otherwise
				require.Equal(t, tt.idle, option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE))
				require.Equal(t, tt.interval, option(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL))
				require.Equal(t, tt.probes, option(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT))
			}
		})
	}
}

func TestTrap_UnacknowledgedData(t *testing.T) {
	t.Parallel()
	const tcpUserTimeout = 18
	patience := func(dial func(ctx context.Context, network, addr string) (net.Conn, error)) (ms int) {
		conn, err := dial(t.Context(), "tcp", sharedAddr(t))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		raw, err := conn.(syscall.Conn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
			require.NoError(t, err)
		}))
		return ms
	}
	require.Zero(t, patience(bare(t, &redis.Options{Addr: sharedAddr(t)}).Options().Dialer), "the system's: a quarter of an hour")
	require.Equal(t, 45_000, patience(open(t, shared(t)).Standard().(*redis.Client).Options().Dialer))
}
