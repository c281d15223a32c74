package heartbeat_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestMonitor_FlappingIsSummedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 4})
		told := follow(t, mon)
		for count := uint64(1); count <= 20; count++ {
			require.NoError(t, mon.Observe(fleet(t, 1, count), 0))
			<-time.After(95 * time.Second)
		}
		events := kinds(told())
		require.Equal(t, []heartbeat.EventKind{"started", "stale", "alive", "stale", "alive", "flapping"}, events)
		require.True(t, only(t, mon).Flapping)
		require.Equal(t, heartbeat.Stale, only(t, mon).State, "the view is not damped")
		<-time.After(15 * time.Minute)
		events = kinds(told())
		require.Equal(t, []heartbeat.EventKind{"dead", "settled"}, events)
	})
}

func TestMonitor_RestoredGoesOnCountingChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 3})
		told, stop := runFor(t, mon)
		require.NoError(t, mon.Observe(fleet(t, 1, 1), 0))
		<-time.After(95 * time.Second)
		require.NoError(t, mon.Observe(fleet(t, 1, 2), 0))
		require.Equal(t, []heartbeat.EventKind{"started", "stale", "alive"}, kinds(told()))
		stop()
		mon = restored(t, heartbeat.MonitorConfig{Flapping: 3}, snapshot(t, mon))
		told, _ = runFor(t, mon)
		<-time.After(95 * time.Second)
		require.NoError(t, mon.Observe(fleet(t, 1, 3), 0))
		require.Equal(t, []heartbeat.EventKind{"stale", "flapping"}, kinds(told()), "the fourth change within ten intervals, across the restart")
	})
}

func TestMonitor_ADeathIsToldOfWhoFlaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 2})
		told := follow(t, mon)
		for count := uint64(1); count <= 6; count++ {
			require.NoError(t, mon.Observe(fleet(t, 1, count), 0))
			<-time.After(95 * time.Second)
		}
		require.Contains(t, kinds(told()), heartbeat.EventFlapping)
		<-time.After(90 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"dead"}, kinds(told()), "in time, and not when it has settled")
		for count := uint64(7); count <= 10; count++ { // it comes and dies again and again
			require.NoError(t, mon.Observe(fleet(t, 1, count), 0))
			<-time.After(185 * time.Second)
		}
		require.Equal(t, []heartbeat.EventKind{"dead"}, kinds(told()), "once in ten intervals")
	})
}
