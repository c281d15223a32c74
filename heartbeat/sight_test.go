package heartbeat_test

import (
	"context"
	"sync/atomic"
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

// tokenEther is an ether of which a test brings the canaries back by hand.
type tokenEther struct {
	*ether
	newest string
}

func (e *tokenEther) Canary(_ context.Context, token string) error {
	e.set(func(*ether) { e.newest = token })
	return nil
}

func (e *tokenEther) token() (token string) {
	e.set(func(*ether) { token = e.newest })
	return token
}

func TestMonitor_OnlyItsOwnNewCanariesProveAnything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEther{ether: newEther()}
		mon, err := heartbeat.NewWatching(e, heartbeat.MonitorConfig{})
		require.NoError(t, err)
		var pause atomic.Int64
		mon.Stretch(func() { <-time.After(time.Duration(pause.Swap(0))) })
		told := follow(t, mon)
		<-time.After(2100 * time.Millisecond)
		for _, token := range []string{"", "x", "other.1", "other." + e.token(), e.token() + "9", "1"} {
			e.heard().Canary("redis", token)
		}
		e.heard().Canary("elsewhere", e.token())
		<-time.After(time.Second)
		require.Empty(t, told())
		e.heard().Canary("redis", e.token())
		<-time.After(time.Second)
		require.Equal(t, []heartbeat.EventKind{"sighted"}, kinds(told()))

		old := e.token()
		pause.Store(int64(3 * time.Second))
		<-time.After(3600 * time.Millisecond)
		require.Contains(t, kinds(told()), heartbeat.EventBlind)
		e.heard().Canary("redis", old)
		<-time.After(time.Second)
		require.Empty(t, told(), "what was under way while it stood still proves nothing of now")
		<-time.After(2 * time.Second)
		e.heard().Canary("redis", e.token())
		<-time.After(time.Second)
		require.Equal(t, []heartbeat.EventKind{"sighted"}, kinds(told()))
	})
}

func TestMonitor_WithoutASubscriptionItIsBlind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		e.paths = nil
		mon, told := onEther(t, e, heartbeat.MonitorConfig{Expect: []string{"b", "a", "d", "c", "geocoding"}})
		<-time.After(5 * time.Second)
		require.Empty(t, told(), "a start takes its time")
		require.True(t, mon.Stats().Blind)
		<-time.After(2 * time.Second)
		events := told()
		require.Equal(t, []heartbeat.EventKind{"blind"}, kinds(events))
		require.Contains(t, events[0].Why, "no subscription yet")
		<-time.After(10 * time.Minute)
		require.Empty(t, told(), "who can't be heard is not missing")
		e.set(func(e *ether) { e.paths = []string{"redis"} })
		e.heard().Path("redis", true, "")
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		require.Equal(t, []heartbeat.EventKind{"sighted", "started"}, kinds(told()))
		<-time.After(178 * time.Second)
		require.NotContains(t, kinds(told()), heartbeat.EventMissing)
		<-time.After(2 * time.Second)
		var missing []string
		for _, e := range told() {
			missing = append(missing, e.Service)
		}
		require.Equal(t, []string{"a", "b", "c", "d"}, missing[:4], "in order")
	})
}
