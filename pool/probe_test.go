package pool_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// peer answers as the test says, which may also close the connection.
func peer(t *testing.T, answer func(c net.Conn, cmd string) string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go speakRESP(c, func(cmd string) string { return answer(c, cmd) })
		}
	}()
	return ln.Addr().String()
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

const unknownCommand = "-ERR unknown command\r\n"

func TestHealth_OtherServers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answers map[string]string
		want    pool.NodeHealth
	}{
		"Valkey": {
			map[string]string{"info": bulk("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\nrole:master\r\nconnected_slaves:2\r\n")},
			pool.NodeHealth{Version: "valkey 8.1.0", Role: "master", Replicas: 2},
		},
		"Dragonfly": {
			map[string]string{"info": bulk("redis_version:7.4.0\r\ndragonfly_version:df-v1.27.1\r\nused_memory:7\r\nmaxmemory:9\r\n"), "role": "*2\r\n$6\r\nmaster\r\n*0\r\n"},
			pool.NodeHealth{Version: "dragonfly df-v1.27.1", Role: "master", UsedMemory: 7, MaxMemory: 9},
		},
		"only ROLE": {
			map[string]string{"role": "*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$9\r\nconnected\r\n:5\r\n"},
			pool.NodeHealth{Role: "replica", ReplicationLink: "up"},
		},
		"knows PING alone":  {nil, pool.NodeHealth{}},
		"answers with junk": {map[string]string{"info": ":7\r\n", "role": "*2\r\n:1\r\n*-1\r\n"}, pool.NodeHealth{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := peer(t, func(_ net.Conn, cmd string) string {
				if cmd == "ping" {
					return "+PONG\r\n"
				}
				if answer := tt.answers[cmd]; answer != "" {
					return answer
				}
				return unknownCommand
			})
			h := open(t, pool.Config{Addr: addr}).Health(t.Context())
			require.Equal(t, pool.StatusOK, h.Status, "%v", h.Reasons)
			require.Positive(t, h.Nodes[0].RoundTripSeconds)
			tt.want.Addr, tt.want.Up, tt.want.RoundTripSeconds = addr, true, h.Nodes[0].RoundTripSeconds
			require.Equal(t, tt.want, h.Nodes[0])
		})
	}
}

func TestHealth_ServerIsLoading(t *testing.T) {
	t.Parallel()
	var loading atomic.Bool
	c := open(t, pool.Config{Addr: peer(t, func(_ net.Conn, cmd string) string {
		switch {
		case cmd == "hello":
			return unknownCommand
		case loading.Load():
			return "-LOADING Redis is loading the dataset in memory\r\n"
		default:
			return "+PONG\r\n"
		}
	})})
	loading.Store(true)
	h := c.Health(t.Context())
	require.Equal(t, pool.StatusDown, h.Status)
	require.Contains(t, h.Reasons[0], "LOADING")
}

// A proxy may hang up at a command that it doesn't know: after two times it isn't asked again, and keeps its connection.
func TestRun_ProxyThatHangsUp(t *testing.T) {
	t.Parallel()
	var opened, pinged, asked atomic.Int32
	addr := peer(t, func(c net.Conn, cmd string) string {
		switch cmd {
		case "hello":
			opened.Add(1)
			return unknownCommand
		case "ping":
			pinged.Add(1)
			return "+PONG\r\n"
		default:
			asked.Add(1)
			_ = c.Close()
			return ""
		}
	})
	c, _ := watched(t, pool.Config{Addr: addr, Profile: often()})
	pings := 1 + 3*2 + 1 // by Open, over three connections with a greeting each, and once more over the last
	require.Eventually(t, func() bool { return int(pinged.Load()) == pings }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, pool.StatusOK, c.Health(t.Context()).Status)
	require.EqualValues(t, 2, asked.Load())
	require.EqualValues(t, 1+3, opened.Load())
}
