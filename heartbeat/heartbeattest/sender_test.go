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
