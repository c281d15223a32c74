package heartbeattest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

func TestSender_FeedsAMonitor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
		require.NoError(t, err)
		s := heartbeattest.NewSender(mon, "geocoding", "a1")
		s.Fields = map[string]any{"pending": 3}
		state := func() heartbeat.Instance {
			all := slices.Collect(mon.Instances())
			require.Len(t, all, 1)
			return all[0]
		}
		require.NoError(t, s.Send())
		require.Equal(t, heartbeat.Alive, state().State)
		pending, _ := state().Beat.Field("pending")
		require.Equal(t, "3", string(pending))
		<-time.After(4 * time.Minute)
		require.Equal(t, heartbeat.Dead, state().State)
		s.Lose()
		require.NoError(t, s.Send())
		require.EqualValues(t, 1, state().Missed)
		require.NoError(t, s.Stop())
		require.Equal(t, heartbeat.Stopped, state().State)
		s.Restart()
		require.NoError(t, s.Send())
		require.Equal(t, heartbeat.Alive, state().State)
		require.Equal(t, 1, state().Restarts)
		s.Fields["bad"] = func() {}
		require.ErrorContains(t, s.Send(), "heartbeattest")
	})
}

func TestSender_SaysWhatItsDocumentationSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{MaxInstances: 1})
		require.NoError(t, err)
		s := heartbeattest.NewSender(mon, "geocoding", "a1")
		require.Zero(t, mon.Stats().Instances, "nothing before Send")
		<-time.After(90 * time.Second)
		require.NoError(t, s.Send())
		newest := func() heartbeat.Instance {
			return slices.Collect(mon.Instances())[0]
		}
		beat := newest().Beat
		require.Equal(t, []any{"geocoding", "a1", uint64(1), time.Minute, heartbeat.PhaseRunning, 90 * time.Second},
			[]any{beat.Service, beat.Instance, beat.Count, beat.Interval, beat.Phase, beat.Uptime})
		require.True(t, beat.Time.Equal(time.Now()))
		require.Zero(t, newest().Skew)

		s.Beat.Phase, s.Beat.MemoryMB = heartbeat.PhaseStuck, 12.5
		s.Fields = map[string]any{"queue_size": 7, "note": "a \"quoted\" one"}
		require.NoError(t, s.Send())
		require.Equal(t, heartbeat.Stuck, newest().State)
		require.InDelta(t, 12.5, newest().Beat.MemoryMB, 0)
		note, _ := newest().Beat.Field("note")
		require.Equal(t, `"a \"quoted\" one"`, string(note))
		require.EqualValues(t, 2, newest().Count)

		other := heartbeattest.NewSender(mon, "geocoding", "b2")
		require.ErrorIs(t, other.Send(), heartbeat.ErrMonitorFull, "it fails where the observer does")
		s.Beat.Phase = heartbeat.PhaseRunning
		<-time.After(time.Minute)
		s.Restart()
		<-time.After(time.Second)
		require.NoError(t, s.Send())
		require.Equal(t, []any{uint64(1), time.Second, 1}, []any{newest().Count, newest().Uptime, newest().Restarts})
	})
}
