package heartbeat_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestManager_RealRedis(t *testing.T) {
	t.Parallel()
	rdb := connect(t, testserver.RedisURL(t), nil)
	service := unique(t)
	status, alert := "health:service:"+service+":status", "health:service:"+service+":alert"
	messages := listen(t, rdb, status, alert)
	m, err := heartbeat.NewManager(rdb, service, heartbeat.ManagerConfig{Config: heartbeat.Config{Stream: service, Logger: new(journal).logger()}})
	require.NoError(t, err)
	require.NoError(t, m.Alert(t.Context(), heartbeat.Alert{Name: "disk", Message: "full"}))
	first := receive(t, messages)
	require.Equal(t, alert, first.Channel)
	stop := run(t, m)
	require.Equal(t, status, receive(t, messages).Channel)
	require.NoError(t, stop())

	channels := map[any]int{}
	entries, err := rdb.XRange(t.Context(), service, "-", "+").Result()
	require.NoError(t, err)
	for _, entry := range entries {
		channels[entry.Values["channel"]]++
	}
	require.Equal(t, 1, channels[alert])
	require.Equal(t, 2, channels[status])
	require.GreaterOrEqual(t, channels["health:service:"+service+":heartbeat"], 1)
	require.ErrorIs(t, rdb.Get(t.Context(), "health:last:"+service).Err(), redis.Nil)
}

func BenchmarkLoop_Mark(b *testing.B) {
	m, err := heartbeat.NewManager(heartbeattest.NewRecorder().Client(), "s", heartbeat.ManagerConfig{})
	require.NoError(b, err)
	loop := m.Progress("fetch", time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		loop.Mark()
	}
}
