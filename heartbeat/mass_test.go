package heartbeat_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// Deaths that are held back, more of them than one look takes on, don't keep others from being told of.
func TestMonitor_AHoldOfManyKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many, others = 10_000, 50
		mon := newMonitor(t, heartbeat.MonitorConfig{EventBuffer: 100_000, Logger: slog.New(slog.DiscardHandler)})
		told := follow(t, mon)
		all := newMultitude()
		for i := range many + others {
			require.NoError(t, mon.Observe(all.beat(i, 1), 0))
		}
		<-time.After(170 * time.Second)
		for i := range others {
			require.NoError(t, mon.Observe(all.beat(many+i, 2), 0))
		}
		<-time.After(80 * time.Second)
		require.Contains(t, kinds(told()), heartbeat.EventMassSilence)
		<-time.After(12 * time.Second)
		stale := 0
		for _, e := range told() {
			require.Equal(t, heartbeat.EventStale, e.Kind)
			stale++
		}
		require.Equal(t, others, stale)
		require.True(t, mon.Stats().Held)
	})
}
