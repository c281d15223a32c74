package heartbeat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestMonitor_TellsOfALifeWithReasons(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		require.Equal(t, []heartbeat.EventKind{heartbeat.EventSighted}, kinds(told()))
		hear := func(count uint64, phase heartbeat.Phase, run string) {
			e.heard().Message(fleet(t, 1, count, func(b *heartbeat.Beat) { b.Phase, b.Run = phase, run }))
		}
		steps := []struct {
			do   func()
			wait time.Duration
			want []heartbeat.EventKind
			why  string
		}{
			{func() { hear(1, "running", "A") }, 0, []heartbeat.EventKind{"started"}, "first time"},
			{func() {}, 89 * time.Second, nil, ""},
			{func() {}, 2 * time.Second, []heartbeat.EventKind{"stale"}, "kept no beat"},
			{func() {}, 88 * time.Second, nil, ""},
			{func() {}, 2 * time.Second, []heartbeat.EventKind{"dead"}, "dead from 3m0s; the broker kept no beat of it"},
			{func() { hear(2, "running", "A") }, 0, []heartbeat.EventKind{"recovered"}, "last beat 0s ago"},
			{func() { hear(3, "stuck", "A") }, 0, []heartbeat.EventKind{"stuck"}, "its work is stuck"},
			{func() { hear(4, "running", "A") }, 0, []heartbeat.EventKind{"recovered"}, ""},
			{func() { hear(5, "stopped", "A") }, time.Hour, []heartbeat.EventKind{"stopped"}, "goodbye"},
			{func() { hear(1, "running", "B") }, 0, []heartbeat.EventKind{"restarted", "recovered"}, ""},
		}
		for i, step := range steps {
			step.do()
			<-time.After(step.wait)
			events := told()
			require.Equal(t, step.want, kinds(events), "step %d: %v", i, events)
			if step.why != "" {
				require.Contains(t, events[0].Why, step.why)
			}
		}
		require.Equal(t, 1, only(t, mon).Restarts)
	})
}

func TestMonitor_AsksBeforeItSpeaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		e.heard().Message(fleet(t, 2, 1))
		_ = told()
		<-time.After(85 * time.Second)
		e.set(func(e *ether) { e.kept["i1"] = heartbeat.Kept{Payload: fleet(t, 1, 2), Age: 30 * time.Second} })
		<-time.After(6 * time.Second)
		events := told()
		require.Len(t, events, 1)
		require.Equal(t, "i2", events[0].Instance, "what was lost for i1 is in the broker")
		e.set(func(e *ether) { require.ElementsMatch(t, []string{"i1", "i2"}, e.asked) })
		for inst := range mon.Instances() {
			require.Equal(t, inst.ID == "i1", inst.State == heartbeat.Alive)
		}
	})
}

func TestMonitor_NoAnswerIsNoDeath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		e.refused = errors.New("NOPERM no right to GET")
		_, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		_ = told()
		<-time.After(98 * time.Second)
		require.Empty(t, told(), "nobody is judged without the second opinion")
		<-time.After(4 * time.Second)
		events := told()
		require.Equal(t, []heartbeat.EventKind{"stale"}, kinds(events), "but it is not waited for without end")
		require.Contains(t, events[0].Why, "no second opinion: NOPERM")
	})
}

func TestMonitor_BlindnessFreezesVerdicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		e.paths = []string{"a", "b"}
		mon, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		_ = told()
		e.set(func(e *ether) { e.paths = []string{"a"} })
		<-time.After(10 * time.Second)
		events := told()
		require.Equal(t, []heartbeat.EventKind{"blind"}, kinds(events), "one master's canary is enough")
		require.Contains(t, events[0].Why, "on b")
		require.True(t, mon.Stats().Blind)
		require.Contains(t, mon.Stats().BlindWhy, "has not come back")
		<-time.After(time.Hour)
		require.Empty(t, told())
		require.Equal(t, heartbeat.Alive, only(t, mon).State)
		require.Greater(t, only(t, mon).Window.Unknown, 59*time.Minute)
		e.heard().Gone("b")
		<-time.After(89 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"sighted"}, kinds(told()), "the time to beat is given")
		<-time.After(2 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"stale"}, kinds(told()))
		<-time.After(90 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"dead"}, kinds(told()))
	})
}

func TestMonitor_StandingStillIsBlindness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		var pause atomic.Int64
		mon.Stretch(func() { <-time.After(time.Duration(pause.Load())) })
		told := follow(t, mon)
		require.NoError(t, mon.Observe(fleet(t, 1, 1), 0))
		<-time.After(80 * time.Second)
		pause.Store(int64(10 * time.Minute))
		<-time.After(5 * time.Second)
		pause.Store(0)
		<-time.After(10*time.Minute + 80*time.Second)
		require.Equal(t, []heartbeat.EventKind{"started", "blind", "sighted"}, kinds(told()))
		<-time.After(20 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"stale"}, kinds(told()))
	})
}

func TestMonitor_MassSilenceIsToldOnceAndBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		for i := range 10 {
			e.heard().Message(fleet(t, i, 1))
		}
		<-time.After(100 * time.Second)
		_ = told()
		<-time.After(80*time.Second + 4*time.Minute)
		require.Equal(t, []heartbeat.EventKind{"mass_silence"}, kinds(told()))
		require.True(t, mon.Stats().Held)
		<-time.After(2 * time.Minute)
		events := kinds(told())
		require.Equal(t, heartbeat.EventMassOver, events[0])
		require.Equal(t, slices.Repeat([]heartbeat.EventKind{"dead"}, 10), events[1:], "the hold is bounded")
	})
}

func TestMonitor_MassSilenceEndsWhenMostAreBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		_, told := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(time.Second)
		for i := range 10 {
			e.heard().Message(fleet(t, i, 1))
		}
		<-time.After(4 * time.Minute)
		_ = told()
		for i := range 6 {
			e.heard().Message(fleet(t, i, 5))
		}
		<-time.After(45 * time.Second)
		events := kinds(told())
		require.Contains(t, events, heartbeat.EventMassOver)
		require.NotContains(t, events, heartbeat.EventDead, "the others get the time to follow")
	})
}

func TestMonitor_RosterTellsOfWhoNeverCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		mon, told := onEther(t, e, heartbeat.MonitorConfig{Expect: []string{"geocoding", "geofence"}})
		<-time.After(time.Second)
		e.heard().Message(fleet(t, 1, 1))
		_ = told()
		<-time.After(10 * time.Minute)
		var missing []string
		for _, event := range told() {
			if event.Kind == heartbeat.EventMissing {
				missing = append(missing, event.Service)
			}
		}
		require.Equal(t, []string{"geofence"}, missing)
		require.Equal(t, missing, mon.Missing())
		require.NoError(t, mon.Observe([]byte(`{"service_name":"geofence","instance_id":"x"}`), 0))
		require.Empty(t, mon.Missing())
	})
}

func TestMonitor_RestartUnderANewName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		told := follow(t, mon)
		on := func(instance, host string, count int) {
			payload := fmt.Appendf(nil, `{"service_name":"s","instance_id":%q,"heartbeat_count":%d,"upbeat":{"host":%q}}`, instance, count, host)
			require.NoError(t, mon.Observe(payload, 0))
		}
		on("old", "web1", 1)
		on("other", "web2", 1)
		<-time.After(40 * time.Second)
		on("new", "web1", 1)
		_ = told()
		<-time.After(51 * time.Second)
		events := told()
		require.ElementsMatch(t, []heartbeat.EventKind{"restarted", "stale"}, kinds(events))
		i := slices.IndexFunc(events, func(e heartbeat.Event) bool { return e.Kind == heartbeat.EventRestarted })
		require.Equal(t, "new", events[i].Instance)
		require.Contains(t, events[i].Why, "took the place of old")
	})
}

func TestMonitor_LateStarterReadsWhatWasKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEther()
		e.sweep = []heartbeat.Kept{{Payload: fleet(t, 1, 7), Age: 20 * time.Second}, {Payload: []byte("?")}}
		mon, _ := onEther(t, e, heartbeat.MonitorConfig{})
		<-time.After(2 * time.Second)
		require.Equal(t, heartbeat.Alive, only(t, mon).State)
		require.Greater(t, only(t, mon).Age, 20*time.Second)
		require.EqualValues(t, 1, mon.Stats().Bad)
	})
}

func TestMonitor_SlowReaderLosesTheOldestAndIsTold(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{EventBuffer: 16})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := mon.Events(ctx)
	for i := range 20 {
		require.NoError(t, mon.Observe(fleet(t, i, 1), 0))
	}
	got := 0
	for e := range events {
		if got == 0 {
			require.EqualValues(t, 4, e.Dropped)
			require.Equal(t, "i4", e.Instance)
		}
		if got++; got == 16 {
			cancel()
		}
	}
	require.EqualValues(t, 4, mon.Stats().Dropped)
}

func TestMonitor_AliveIsLeastLoadedFirst(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	for _, b := range []string{
		`"instance_id":"a","pending":30,"cpu_usage_percent":1`, `"instance_id":"b","pending":2,"cpu_usage_percent":9`,
		`"instance_id":"c","pending":2,"cpu_usage_percent":8`, `"instance_id":"d","cpu_usage_percent":0`,
		`"instance_id":"e","pending":0,"upbeat":{"state":"draining"}`, `"instance_id":"f","pending":0,"upbeat":{"state":"stopped"}`,
	} {
		require.NoError(t, mon.Observe([]byte(`{"service_name":"s",`+b+`}`), 0))
	}
	order := func(by ...string) string {
		var ids []string
		for inst := range mon.Alive("s", by...) {
			ids = append(ids, inst.ID)
		}
		return strings.Join(ids, "")
	}
	require.Equal(t, "cbad", order("pending"))
	require.Equal(t, "dacb", order())
	require.Empty(t, slices.Collect(mon.Alive("other")))
}

func TestMonitor_RestoredNeitherForgetsNorTellsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newMonitor(t, heartbeat.MonitorConfig{})
		told := follow(t, first)
		require.NoError(t, first.Observe(fleet(t, 1, 1), 0))
		<-time.After(5 * time.Minute)
		require.NoError(t, first.Observe(fleet(t, 2, 1), 0))
		<-time.After(time.Minute)
		require.NoError(t, first.Observe(fleet(t, 2, 3), 0))
		require.Contains(t, kinds(told()), heartbeat.EventDead)
		var snapshot bytes.Buffer
		require.NoError(t, first.Snapshot(&snapshot))

		<-time.After(time.Hour)
		second := newMonitor(t, heartbeat.MonitorConfig{})
		require.NoError(t, second.Restore(bytes.NewReader(snapshot.Bytes())))
		told = follow(t, second)
		<-time.After(89 * time.Second)
		require.Empty(t, told())
		all := slices.Collect(second.Instances())
		require.Equal(t, heartbeat.Dead, all[0].State)
		require.Equal(t, heartbeat.Alive, all[1].State)
		require.EqualValues(t, 1, all[1].Missed)
		require.InDelta(t, time.Minute, all[1].Window.Up, float64(time.Second), "nothing is known since")
		<-time.After(2 * time.Minute)
		require.Equal(t, []heartbeat.EventKind{"stale", "dead"}, kinds(told()), "i2 has not been heard since")
		require.NoError(t, second.Observe(fleet(t, 1, 9), 0))
		require.Equal(t, []heartbeat.EventKind{"recovered"}, kinds(told()))
	})
}

func TestMonitor_RestoreRefusesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	full := newMonitor(t, heartbeat.MonitorConfig{})
	for i := range 3 {
		require.NoError(t, full.Observe(fleet(t, i, 1), 0))
	}
	var buf bytes.Buffer
	require.NoError(t, full.Snapshot(&buf))
	whole := buf.String()
	lines := strings.SplitAfter(whole, "\n")
	tests := map[string]string{
		"empty":         "",
		"something":     "hello\n",
		"other version": strings.Replace(whole, `"upbeat_snapshot":1`, `"upbeat_snapshot":2`, 1),
		"cut":           lines[0] + lines[1],
		"cut in a line": whole[:len(whole)-20],
		"doubled":       lines[0] + lines[1] + lines[1] + lines[2],
		"too long":      whole + lines[1],
		"bad beat":      strings.Replace(whole, `"beat":"`, `"beat":"AAAA`, 1),
		"negative age":  strings.Replace(whole, `"seen":`, `"seen":-`, 1),
		"no state":      strings.Replace(whole, `"alive"`, `"lively"`, 1),
		"too much time": strings.Replace(whole, `"spent":[[`, `"spent":[[6553`, 1),
		"odd offset":    strings.Replace(whole, `"offset":`, `"offset":99999`, 1),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mon := newMonitor(t, heartbeat.MonitorConfig{})
			require.ErrorIs(t, mon.Restore(strings.NewReader(text)), heartbeat.ErrSnapshot)
			require.Zero(t, mon.Stats().Instances)
			require.NoError(t, mon.Restore(strings.NewReader(whole)))
			require.ErrorContains(t, mon.Restore(strings.NewReader(whole)), "knows nothing yet")
		})
	}
}

func TestMonitor_RunsOnce(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, mon.Run(ctx))
	require.ErrorContains(t, mon.Run(ctx), "called before")
}
