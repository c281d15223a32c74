package pool_test

import (
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/pool"
)

// A blocking command isn't repeated, so one that is sent into a connection that has ended is an error that nobody needs.
func TestBlocking_DeadIdleConnections(t *testing.T) {
	t.Parallel()
	srv := testserver.StartRedis(t, testserver.RedisConfig{})
	front := serveTLS(t, srv.Addr())
	for name, cfg := range map[string]pool.Config{
		"plain": {Addr: srv.Addr()},
		"TLS":   {Addr: front.addr, TLS: front.client},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, cfg)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					_, err := c.Blocking().BLPop(t.Context(), 200*time.Millisecond, "absent")
					require.ErrorIs(t, err, redis.Nil)
				})
			}
			wg.Wait()
			require.Equal(t, 3, c.Stats().Blocking.AvailableConnections)
			_, err := c.Blocking().BLPop(t.Context(), time.Millisecond, "absent")
			require.ErrorIs(t, err, redis.Nil)
			require.Equal(t, 3, c.Stats().Blocking.CreatedConnections, "a good one is used again")
			front.hangUp()
			srv.Restart()
			_, err = c.Blocking().BLPop(t.Context(), time.Millisecond, "absent")
			require.ErrorIs(t, err, redis.Nil)
			require.Equal(t, 1, c.Stats().Blocking.CreatedConnections, "none of those that have ended is left")
		})
	}
}
