package heartbeat_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestMonitor_FlappingSettlesWhileItBeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 3})
		told := follow(t, mon)
		count := uint64(0)
		beat := func(phase heartbeat.Phase, wait time.Duration) {
			count++
			require.NoError(t, mon.Observe(fleet(t, 1, count, func(b *heartbeat.Beat) { b.Phase = phase }), 0))
			<-time.After(wait)
		}
		for range 4 {
			beat(heartbeat.PhaseRunning, 10*time.Second)
			beat(heartbeat.PhaseStuck, 10*time.Second)
		}
		require.Contains(t, kinds(told()), heartbeat.EventFlapping)
		for range 9 {
			beat(heartbeat.PhaseRunning, time.Minute)
		}
		require.Empty(t, told())
		beat(heartbeat.PhaseRunning, time.Minute)
		beat(heartbeat.PhaseRunning, time.Minute)
		events := told()
		require.Equal(t, []heartbeat.EventKind{"settled"}, kinds(events))
		require.Equal(t, heartbeat.Alive, events[0].State)
		beat(heartbeat.PhaseStuck, time.Second)
		require.Equal(t, []heartbeat.EventKind{"stuck"}, kinds(told()), "its changes are told again")
	})
}

// Changes that are far from each other are no flapping, however many there are.
func TestMonitor_RareChangesAreAllTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 3})
		told := follow(t, mon)
		for count := range uint64(20) {
			require.NoError(t, mon.Observe(fleet(t, 1, count+1), 0))
			<-time.After(11 * time.Minute)
		}
		require.Len(t, told(), 3*20, "started or recovered, stale, dead")
	})
}
