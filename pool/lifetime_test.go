package pool_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/pool"
)

// Connections that were made together aren't replaced together: that would be a storm every hour.
func TestClients_LifetimesDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 30
		dials := 0
		dial := func(context.Context, string, string) (net.Conn, error) {
			dials++
			here, there := net.Pipe()
			go speakRESP(there, func(cmd string) string {
				if cmd == "hello" {
					return "-ERR unknown command\r\n"
				}
				return "+PONG\r\n"
			})
			return here, nil
		}
		rdb, err := pool.NewClientOver(pool.Config{Profile: pool.Profile{MaxConnections: n, HealthCheckInterval: -1}}, dial)
		require.NoError(t, err)
		defer func() { require.NoError(t, rdb.Close()) }()
		start := time.Now()
		useAll := func(at time.Duration) (made int) {
			<-time.After(time.Until(start.Add(at)))
			before := dials
			conns := make([]*redis.Conn, n)
			for i := range conns {
				conns[i] = rdb.Conn()
				require.NoError(t, conns[i].Ping(t.Context()).Err())
			}
			for _, conn := range conns {
				require.NoError(t, conn.Close())
			}
			return dials - before
		}
		require.Equal(t, n, useAll(0))
		require.Zero(t, useAll(53*time.Minute))
		made, minutes := 0, 0
		for minute := 54; minute <= 66; minute++ {
			if m := useAll(time.Duration(minute)*time.Minute + time.Second); m > 0 {
				made += m
				minutes++
			}
		}
		require.Equal(t, n, made, "an hour, give or take a tenth")
		require.Greater(t, minutes, 4, "spread over all of that")
	})
}

func TestBlocking_ConnectionsGetOld(t *testing.T) {
	t.Parallel()
	watcher := open(t, shared(t)).Standard()
	for name, tt := range map[string]struct {
		lifetime time.Duration
		again    bool
	}{"young": {time.Minute, true}, "old": {time.Nanosecond, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := shared(t)
			cfg.ClientName = "lifetime-" + name
			c, k := open(t, pool.WithLifetime(cfg, tt.lifetime)), key(t)
			id := func() (id string) {
				_, err := c.Blocking().BLPop(cancelWhen(t, func() {
					awaitBlocked(t, watcher, cfg.ClientName, 1)
					id, _, _ = strings.Cut(blockedLines(watcher.ClientList(t.Context()).Val(), "name="+cfg.ClientName)[0], " ")
				}), 0, k)
				require.ErrorIs(t, err, errStop)
				return id
			}
			first := id()
			require.Equal(t, tt.again, first == id())
		})
	}
}
