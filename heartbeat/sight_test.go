package heartbeat_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// blip loses a path and regains it, and proves it again, all between two looks.
func (e *ether) blip() {
	e.heard().Path("redis", false, "connection reset by peer")
	e.heard().Path("redis", true, "")
	synctest.Wait() // the canary that this asks for comes back
}

func TestMonitor_PathRegainedBetweenTwoLooksWasBlind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		<-time.After(60*time.Second + 100*time.Millisecond)
		_ = told()
		e.blip()
		<-time.After(500 * time.Millisecond)
		events := told()
		require.Equal(t, []heartbeat.EventKind{"blind"}, kinds(events), "what was said meanwhile may be lost")
		require.Contains(t, events[0].Why, "redis was lost for a moment: connection reset by peer")
		require.True(t, mon.Stats().Blind)
		<-time.After(500 * time.Millisecond)
		require.Equal(t, []heartbeat.EventKind{"sighted"}, kinds(told()))

		<-time.After(10 * time.Second)
		e.heard().Message(fleet(t, 1, 2))
		w := only(t, mon).Window
		require.InDelta(t, 2*time.Second, w.Unknown, float64(time.Second), "since the last canary before: %+v", w)
		require.InDelta(t, 71*time.Second, w.Up+w.Unknown, float64(time.Second))
		require.Zero(t, w.Down)
	})
}

func TestMonitor_SilenceBeforeABlipDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		_, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		<-time.After(80*time.Second + 100*time.Millisecond)
		for range 3 {
			e.blip() // more than one before the next look
		}
		<-time.After(time.Second)
		_ = told()
		<-time.After(88 * time.Second)
		require.Empty(t, told())
		<-time.After(3 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"stale"}, kinds(told()))
	})
}

// More blind times than are remembered: what was so long ago that it can't be told any more is unknown, not guessed.
func TestMonitor_ForgottenBlindnessIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, _ := onEther(t, e, heartbeat.MonitorConfig{Forget: -1})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		<-time.After(100 * time.Millisecond)
		for range 300 {
			e.blip()
			<-time.After(time.Minute)
		}
		e.heard().Message(fleet(t, 1, 2))
		w := only(t, mon).Window
		require.InDelta(t, 300*time.Minute, w.Up+w.Down+w.Unknown, float64(time.Minute))
		require.Zero(t, w.Up)
		require.Greater(t, w.Unknown, 44*time.Minute)
		require.Greater(t, w.Down, 200*time.Minute)
	})
}
