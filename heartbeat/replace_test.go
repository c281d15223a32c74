package heartbeat_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

func count(events []heartbeat.Event) map[heartbeat.EventKind]int {
	counts := map[heartbeat.EventKind]int{}
	for _, e := range events {
		counts[e.Kind]++
	}
	return counts
}

// onHost sends the beat of an instance that began so long ago on a host.
func onHost(t *testing.T, mon *heartbeat.Monitor, instance, host string, beat int, uptime time.Duration) {
	t.Helper()
	require.NoError(t, mon.Observe(fmt.Appendf(nil, `{"service_name":"s","instance_id":%q,"heartbeat_count":%d,"uptime_seconds":%g,"upbeat":{"host":%q}}`,
		instance, beat, uptime.Seconds(), host), 0))
}

func TestMonitor_EachOfManyIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MassShare: -1})
		told := follow(t, mon)
		const many = 10
		for beat := range 5 { // a host full of them is restarted after the second beat, and one does not come back
			for i := range many {
				switch {
				case beat < 2:
					onHost(t, mon, fmt.Sprint("old", i), "h", beat+1, time.Duration(beat)*time.Minute)
				case i > 0:
					onHost(t, mon, fmt.Sprint("new", i), "h", beat-1, time.Duration(beat-2)*time.Minute+10*time.Second)
				}
			}
			<-time.After(time.Minute)
		}
		require.Equal(t, map[heartbeat.EventKind]int{"started": 2*many - 1, "restarted": many - 1, "stale": 1, "dead": 1}, count(told()))
	})
}

func TestMonitor_CrashesUnderNewNamesAreNoDeaths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MassShare: -1})
		told := follow(t, mon)
		for i := range 100 { // more than are remembered, but not more than that in the time to a verdict
			onHost(t, mon, fmt.Sprint("short", i), "h", 1, 0)
			<-time.After(3 * time.Second)
		}
		for beat := range 5 {
			onHost(t, mon, "well", "h", beat+1, time.Duration(beat)*time.Minute)
			<-time.After(time.Minute)
		}
		events := told()
		require.Equal(t, map[heartbeat.EventKind]int{"started": 101, "restarted": 100}, count(events))
		last := events[len(events)-1]
		require.Equal(t, "well", last.Instance, "and not one that has gone, too")
	})
}

func TestMonitor_NameOfTwoProcesses(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*heartbeattest.Sender) error{
		"goodbye": (*heartbeattest.Sender).Stop,
		"crash":   func(*heartbeattest.Sender) error { return nil },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				mon := newMonitor(t, heartbeat.MonitorConfig{})
				told := follow(t, mon)
				old, young := heartbeattest.NewSender(mon, "s", "main"), heartbeattest.NewSender(mon, "s", "main")
				young.Beat.Run = "young"
				for beat := range 20 { // the younger is rolled back
					require.NoError(t, old.Send())
					if beat >= 5 && beat < 8 {
						require.NoError(t, young.Send())
					}
					if beat == 8 {
						require.NoError(t, end(young))
					}
					<-time.After(time.Minute)
				}
				got, events := only(t, mon), told()
				require.Equal(t, heartbeat.Alive, got.State, "%v", events)
				require.Equal(t, "1", got.Beat.Run)
				require.Zero(t, got.Missed)
				require.Equal(t, 1, got.Restarts)
				require.Zero(t, count(events)[heartbeat.EventDead])
			})
		})
	}
}

func TestMonitor_RestartsAreSummedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Flapping: 4})
		told := follow(t, mon)
		s := heartbeattest.NewSender(mon, "s", "main")
		for range 50 {
			require.NoError(t, s.Send())
			s.Restart()
			<-time.After(30 * time.Second)
		}
		require.Equal(t, map[heartbeat.EventKind]int{"started": 1, "restarted": 4, "flapping": 1}, count(told()))
		require.Equal(t, 49, only(t, mon).Restarts)
		for range 12 {
			require.NoError(t, s.Send())
			<-time.After(time.Minute)
		}
		require.Equal(t, map[heartbeat.EventKind]int{"settled": 1}, count(told()))
	})
}

func TestMonitor_OldBeatTakesNoNameBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		life := func(run string, count uint64, phase heartbeat.Phase) {
			payload := encode(t, func(b *heartbeat.Beat) { b.Run, b.Count, b.Phase = run, count, phase })
			require.NoError(t, mon.Observe(payload, 0))
			<-time.After(time.Second)
		}
		life("A", 5, heartbeat.PhaseRunning)
		life("B", 1, heartbeat.PhaseRunning)
		life("B", 2, heartbeat.PhaseStopped)
		life("A", 5, heartbeat.PhaseRunning)
		require.Equal(t, heartbeat.Stopped, only(t, mon).State)
		life("A", 6, heartbeat.PhaseRunning)
		require.Equal(t, heartbeat.Alive, only(t, mon).State)
	})
}

// Every container has a "localhost" somewhere: two of them are no two lives on one host.
func TestPublisher_NamesOnlyAHostThatCanBeTold(t *testing.T) {
	t.Parallel()
	require.Equal(t, "web-7", heartbeat.HostName("web-7", nil))
	for _, name := range []string{"", "localhost", "localhost.localdomain", "a\x1b[31m", strings.Repeat("h", 129)} {
		require.Empty(t, heartbeat.HostName(name, nil), "%q", name)
	}
	require.Empty(t, heartbeat.HostName("web-7", errDown))
}
