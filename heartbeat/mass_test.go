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

// A hold whose time is up is not begun anew for those who die a little later.
func TestMonitor_AHoldIsSpentUntilMostAreHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MassHold: time.Second})
		told := follow(t, mon)
		say := func(from, to int, count uint64) {
			for i := from; i < to; i++ {
				require.NoError(t, mon.Observe(fleet(t, i, count), 0))
			}
		}
		holds := func() (n int) {
			for _, e := range told() {
				if e.Kind == heartbeat.EventMassSilence {
					n++
				}
			}
			return n
		}
		say(0, 10, 1)
		<-time.After(time.Minute)
		say(10, 16, 1)
		<-time.After(5 * time.Minute)
		require.Equal(t, 1, holds())
		require.Equal(t, map[heartbeat.State]int{heartbeat.Dead: 16}, services(mon)["geocoding"].States)
		say(0, 16, 2)
		<-time.After(5 * time.Minute)
		require.Equal(t, 1, holds(), "they were all heard in between")
	})
}

func TestMonitor_AFewAreNoMass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		told := follow(t, mon)
		for i := range 4 {
			require.NoError(t, mon.Observe(fleet(t, i, 1), 0))
		}
		<-time.After(182 * time.Second)
		require.NotContains(t, kinds(told()), heartbeat.EventMassSilence)
		require.Equal(t, map[heartbeat.State]int{heartbeat.Dead: 4}, services(mon)["geocoding"].States)
	})
}

func TestMonitor_AHoldRunsFromTheLastWhoFellSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MassHold: time.Minute})
		told := follow(t, mon)
		for i := range 10 {
			require.NoError(t, mon.Observe(fleet(t, i, 1), 0))
		}
		<-time.After(2 * time.Minute)
		for i := 6; i < 10; i++ {
			require.NoError(t, mon.Observe(fleet(t, i, 3), 0))
		}
		<-time.After(61 * time.Second)
		require.Contains(t, kinds(told()), heartbeat.EventMassSilence, "six of ten, and they are due")
		<-time.After(87 * time.Second)
		require.NotContains(t, kinds(told()), heartbeat.EventDead, "the others fell silent half a minute later")
		<-time.After(4 * time.Second)
		require.Contains(t, kinds(told()), heartbeat.EventDead)
	})
}
