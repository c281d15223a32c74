package heartbeat_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// A service whose last instance is forgotten is waited for as long as one that never came, and told of once.
func TestMonitor_RosterWaitsForWhoHasLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Expect: []string{"geocoding"}, Forget: time.Minute})
		told := follow(t, mon)
		goodbye := func(count uint64) {
			require.NoError(t, mon.Observe(fleet(t, 1, count, func(b *heartbeat.Beat) { b.Phase = heartbeat.PhaseStopped }), 0))
		}
		<-time.After(2 * time.Minute)
		goodbye(1)
		<-time.After(3*time.Minute + 50*time.Second)
		require.Equal(t, []heartbeat.EventKind{"stopped"}, kinds(told()), "known for a minute, and waited for since")
		require.Empty(t, mon.Missing())
		<-time.After(30 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"missing"}, kinds(told()))
		require.Equal(t, []string{"geocoding"}, mon.Missing())
		<-time.After(time.Hour)
		require.Empty(t, told())
		goodbye(2)
		require.Empty(t, mon.Missing())
		<-time.After(5 * time.Minute)
		require.Equal(t, []heartbeat.EventKind{"stopped", "missing"}, kinds(told()))
	})
}
