package heartbeat_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func snapshot(tb testing.TB, mon *heartbeat.Monitor) []byte {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, mon.Snapshot(&b))
	return b.Bytes()
}

func restored(tb testing.TB, cfg heartbeat.MonitorConfig, snapshot []byte) *heartbeat.Monitor {
	tb.Helper()
	mon := newMonitor(tb, cfg)
	require.NoError(tb, mon.Restore(bytes.NewReader(snapshot)))
	return mon
}

// states returns what a monitor shows of each instance that outlives a restart.
func states(mon *heartbeat.Monitor) map[string]string {
	all := map[string]string{}
	for inst := range mon.Instances() {
		all[inst.Service+inst.ID] = fmt.Sprint(inst.State, inst.Flapping, inst.Count, inst.Missed, inst.Restarts, inst.Uptime,
			inst.Window.Up, inst.Window.Down.Round(10*time.Second), inst.Window.Beats, inst.Window.Missed)
	}
	return all
}

// oneOfEach brings a monitor that runs to hold an instance in each state.
func oneOfEach(t *testing.T, mon *heartbeat.Monitor) {
	t.Helper()
	say := func(id string, count uint64, edit ...func(*heartbeat.Beat)) {
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) {
			b.Instance, b.Count, b.MemoryMB = id, count, 100
			for _, e := range edit {
				e(b)
			}
		}), 0))
	}
	hosted := func(id string) {
		require.NoError(t, mon.Observe(fmt.Appendf(nil, `{"service_name":"geocoding","instance_id":%q,"upbeat":{"host":"h"}}`, id), 0))
	}
	phase := func(p heartbeat.Phase) func(*heartbeat.Beat) { return func(b *heartbeat.Beat) { b.Phase = p } }
	for i := range uint64(6) {
		say("flapping", i+1)
		<-time.After(95 * time.Second)
	}
	say("dead", 1)
	hosted("replaced")
	<-time.After(20 * time.Second)
	hosted("replacement")
	<-time.After(70 * time.Second)
	say("stale", 7)
	say("stopped", 1, phase(heartbeat.PhaseStopped))
	<-time.After(95 * time.Second)
	say("stuck", 3, phase(heartbeat.PhaseStuck))
	say("alive", 1)
	say("alive", 4)
	say("alive", 2, func(b *heartbeat.Beat) { b.Run = "B" })
	say("flapping", 8)
	hosted("replacement")
	<-time.After(2 * time.Second)
}

func TestMonitor_RestoredIsAsItWas(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"while it runs", "after it ran"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := heartbeat.MonitorConfig{Flapping: 4, MassShare: -1, Expect: []string{"geocoding", "geofence"}}
				first := newMonitor(t, cfg)
				told, stop := runFor(t, first)
				oneOfEach(t, first)
				seen := kinds(told())
				for _, kind := range []heartbeat.EventKind{"stale", "dead", "stuck", "stopped", "flapping", "restarted", "missing"} {
					require.Contains(t, seen, kind)
				}
				before := states(first)
				if when == "after it ran" {
					stop()
				}
				kept := snapshot(t, first)

				<-time.After(6 * time.Hour)
				second := newMonitor(t, cfg)
				<-time.After(10 * time.Minute) // it was made long before
				require.NoError(t, second.Restore(bytes.NewReader(kept)))
				require.Equal(t, map[heartbeat.State]int{heartbeat.Alive: 3, heartbeat.Dead: 1, heartbeat.Stale: 1, heartbeat.Stopped: 2, heartbeat.Stuck: 1},
					services(second)["geocoding"].States, "without Run, too")
				told, _ = runFor(t, second)
				<-time.After(time.Second)
				require.Equal(t, before, states(second))
				require.Equal(t, []string{"geofence"}, second.Missing())
				require.Equal(t, map[heartbeat.State]int{heartbeat.Alive: 3, heartbeat.Dead: 1, heartbeat.Stale: 1, heartbeat.Stopped: 2, heartbeat.Stuck: 1},
					services(second)["geocoding"].States)
				<-time.After(88 * time.Second)
				require.Empty(t, told(), "all of it was told before, and all have the time to be heard")
				<-time.After(2 * time.Second)
				require.Equal(t, []heartbeat.EventKind{"stale", "stale", "stale"}, kinds(told()), "alive, stuck, replacement; flapping is damped")
				<-time.After(90 * time.Second)
				require.Equal(t, slices.Repeat([]heartbeat.EventKind{"dead"}, 4), kinds(told()), "and stale; that of who flaps was told minutes before the snapshot")
				require.NoError(t, second.Observe(encode(t, func(b *heartbeat.Beat) { b.Instance, b.Count, b.Run = "alive", 3, "A" }), 0))
				require.Empty(t, told(), "the life before the newest one does not come back")
				require.NoError(t, second.Observe(encode(t, func(b *heartbeat.Beat) { b.Instance, b.Count = "dead", 9 }), 0))
				require.Equal(t, []heartbeat.EventKind{"recovered"}, kinds(told()))
			})
		})
	}
}

func services(mon *heartbeat.Monitor) map[string]heartbeat.ServiceSummary {
	return maps.Collect(func(yield func(string, heartbeat.ServiceSummary) bool) {
		for sum := range mon.Services() {
			if !yield(sum.Service, sum) {
				return
			}
		}
	})
}

func TestMonitor_RestoredHoldGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newMonitor(t, heartbeat.MonitorConfig{MassHold: 10 * time.Minute})
		told, stop := runFor(t, first)
		for i := range 10 {
			require.NoError(t, first.Observe(fleet(t, i, 1), 0))
		}
		<-time.After(5 * time.Minute)
		require.Contains(t, kinds(told()), heartbeat.EventMassSilence)
		require.True(t, first.Stats().Held)
		stop()
		kept := snapshot(t, first)

		second := restored(t, heartbeat.MonitorConfig{MassHold: 10 * time.Minute}, kept)
		require.True(t, second.Stats().Held)
		told = follow(t, second)
		<-time.After(7*time.Minute + 59*time.Second)
		require.Empty(t, told(), "the hold was told")
		<-time.After(2 * time.Second)
		events := kinds(told())
		require.Equal(t, heartbeat.EventMassOver, events[0], "it began two minutes before the snapshot")
		require.Equal(t, slices.Repeat([]heartbeat.EventKind{"dead"}, 10), events[1:])
	})
}

// What was held back by blindness or by the end of Run is not lost: the verdict comes from the restored monitor.
func TestMonitor_RestoredTellsWhatWasNotTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newMonitor(t, heartbeat.MonitorConfig{})
		_, stop := runFor(t, first)
		require.NoError(t, first.Observe(fleet(t, 1, 1), 0))
		<-time.After(time.Minute)
		stop()
		<-time.After(time.Hour)
		require.Equal(t, heartbeat.Dead, only(t, first).State)
		second := restored(t, heartbeat.MonitorConfig{}, snapshot(t, first))
		told := follow(t, second)
		<-time.After(10 * time.Minute)
		require.Equal(t, []heartbeat.EventKind{"stale", "dead"}, kinds(told()))
	})
}

func TestMonitor_TimeAwayIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newMonitor(t, heartbeat.MonitorConfig{})
		require.NoError(t, first.Observe(fleet(t, 1, 1), 0))
		<-time.After(time.Minute)
		require.NoError(t, first.Observe(fleet(t, 1, 2), 0))
		second := restored(t, heartbeat.MonitorConfig{}, snapshot(t, first))
		_ = follow(t, second)
		<-time.After(30 * time.Second)
		w := only(t, second).Window
		require.Equal(t, []time.Duration{time.Minute, 0, 30 * time.Second}, rounded(w))
		require.NoError(t, second.Observe(fleet(t, 1, 3), 0))
		require.Equal(t, []time.Duration{time.Minute, 0, 30 * time.Second}, rounded(only(t, second).Window), "who knows what was between")
		<-time.After(time.Minute)
		require.NoError(t, second.Observe(fleet(t, 1, 4), 0))
		require.Equal(t, []time.Duration{2 * time.Minute, 0, 30 * time.Second}, rounded(only(t, second).Window))
	})
}

func rounded(w heartbeat.Window) []time.Duration {
	return []time.Duration{w.Up.Round(time.Second), w.Down.Round(time.Second), w.Unknown.Round(time.Second)}
}

// A monitor that is deployed again and again keeps its history, and never counts more than there is.
func TestMonitor_HistorySurvivesManyRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := heartbeat.MonitorConfig{Window: 80 * time.Minute}
		mon, count := newMonitor(t, cfg), uint64(0)
		for range 100 {
			for range 7 {
				count++
				require.NoError(t, mon.Observe(fleet(t, 1, count), 0))
				<-time.After(time.Minute)
			}
			w := only(t, mon).Window
			require.LessOrEqual(t, w.Up+w.Down+w.Unknown, 80*time.Minute)
			mon = restored(t, cfg, snapshot(t, mon))
		}
		w := only(t, mon).Window
		require.Greater(t, w.Up, 69*time.Minute, "%+v", w)
		require.InDelta(t, 75, w.Beats, 6)

		other := restored(t, heartbeat.MonitorConfig{Window: 90 * time.Minute}, snapshot(t, mon))
		require.Zero(t, only(t, other).Window.Up, "windows of another length can't be compared")
		require.Equal(t, count, only(t, other).Count)
	})
}

func TestMonitor_SnapshotWhileItIsFed(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for count := range uint64(500) {
				require.NoError(t, mon.Observe(fleet(t, i+int(count)%3*4, count+1), 0))
			}
		})
	}
	for range 50 {
		second := restored(t, heartbeat.MonitorConfig{}, snapshot(t, mon))
		require.LessOrEqual(t, second.Stats().Instances, 12)
	}
	wg.Wait()
	require.Equal(t, 12, restored(t, heartbeat.MonitorConfig{}, snapshot(t, mon)).Stats().Instances)
}

func TestMonitor_SnapshotCutAnywhereIsAnError(t *testing.T) {
	t.Parallel()
	full := newMonitor(t, heartbeat.MonitorConfig{})
	for i := range 2 {
		require.NoError(t, full.Observe(fleet(t, i, 1), 0))
	}
	whole := snapshot(t, full)
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	for n := range whole {
		require.ErrorIs(t, mon.Restore(bytes.NewReader(whole[:n])), heartbeat.ErrSnapshot, "%d of %d bytes", n, len(whole))
		require.Equal(t, heartbeat.MonitorStats{}, mon.Stats())
	}
	failing := io.MultiReader(bytes.NewReader(whole), readerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }))
	require.ErrorIs(t, mon.Restore(failing), io.ErrClosedPipe)
	require.NoError(t, mon.Restore(bytes.NewReader(whole)))
	require.Equal(t, 2, mon.Stats().Instances)
}

// What was heard while a snapshot was read is not thrown away for it.
func TestMonitor_RestoreGivesWayToWhatIsHeard(t *testing.T) {
	t.Parallel()
	full := newMonitor(t, heartbeat.MonitorConfig{})
	require.NoError(t, full.Observe(fleet(t, 1, 1), 0))
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	hearing := readerFunc(func([]byte) (int, error) {
		require.NoError(t, mon.Observe(fleet(t, 2, 1), 0))
		return 0, io.EOF
	})
	require.ErrorContains(t, mon.Restore(io.MultiReader(bytes.NewReader(snapshot(t, full)), hearing)), "knows nothing yet")
	require.Equal(t, "i2", only(t, mon).ID)
	require.Equal(t, 1, mon.Stats().Instances)
}

// That Redis keeps the newest beats of a sender is known still where the beat that said so was trimmed.
func TestMonitor_RestoredKnowsWhoseBeatsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newMonitor(t, heartbeat.MonitorConfig{MaxBytes: 4096})
		big := strings.Replace(typicalBeat, `1380`, `"`+strings.Repeat("x", 5000)+`"`, 1)
		require.NoError(t, first.Observe([]byte(big), 0))
		require.EqualValues(t, 1, first.Stats().Trimmed)
		<-time.After(100 * time.Second)
		second := restored(t, heartbeat.MonitorConfig{}, snapshot(t, first))
		told := follow(t, second)
		<-time.After(92 * time.Second)
		require.Equal(t, []heartbeat.EventKind{"dead"}, kinds(told()), "a copy would have told of a beat")
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestMonitor_SnapshotFailsWhereItIsWritten(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	require.NoError(t, mon.Observe([]byte(plainBeat), 0))
	in, out := io.Pipe()
	require.NoError(t, in.Close())
	require.ErrorIs(t, mon.Snapshot(out), io.ErrClosedPipe)
}

// A stranger's figures end up in means; none of them may keep a snapshot or a summary from being written.
func TestMonitor_SnapshotHoldsAnyFigure(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	for i, figure := range []string{"1e308", "-1e308", "1.7e308", "3.5e38", "-3.5e38", "5e-324"} {
		require.NoError(t, mon.Observe(fmt.Appendf(nil, `{"service_name":"s","instance_id":"i","heartbeat_count":%d,"memory_usage_mb":%s,"cpu_usage_percent":%s}`,
			i+1, figure, figure), 0))
		w := only(t, restored(t, heartbeat.MonitorConfig{}, snapshot(t, mon))).Window
		require.LessOrEqual(t, max(w.MemoryMB, -w.MemoryMB), 1.1e30)
	}
}

func TestMonitor_RestoreKeepsWithinItsBounds(t *testing.T) {
	t.Parallel()
	full := newMonitor(t, heartbeat.MonitorConfig{})
	for i := range 50 {
		require.NoError(t, full.Observe(heavy(t, i, 1, 1000), 0))
	}
	kept := snapshot(t, full)
	mon := restored(t, heartbeat.MonitorConfig{MaxBytes: 20_000}, kept)
	require.Equal(t, 50, mon.Stats().Instances)
	require.LessOrEqual(t, mon.Stats().Bytes, int64(20_000))
	require.Positive(t, mon.Stats().Trimmed)
	require.ErrorContains(t, newMonitor(t, heartbeat.MonitorConfig{MaxInstances: 49}).Restore(bytes.NewReader(kept)), "MaxInstances")
	again := restored(t, heartbeat.MonitorConfig{MaxBytes: 4096}, snapshot(t, mon))
	require.Equal(t, 50, again.Stats().Instances, "what was trimmed can be restored")
	require.LessOrEqual(t, again.Stats().Bytes, int64(4096))
}

// FuzzMonitor_Restore reads anything: it is refused and changes nothing, or it gives a monitor like any other.
func FuzzMonitor_Restore(f *testing.F) {
	cfg := heartbeat.MonitorConfig{MaxInstances: 16, MaxBytes: 8192, Expect: []string{"geocoding"}}
	full := newMonitor(f, cfg)
	f.Add(snapshot(f, full))
	require.NoError(f, full.Observe([]byte(typicalBeat), time.Minute))
	require.NoError(f, full.Observe([]byte(plainBeat), time.Hour))
	whole := snapshot(f, full)
	f.Add(whole)
	for _, edit := range [][2]string{
		{`"instances":2`, `"instances":-1`},
		{`"instances":2`, `"instances":9000000000`},
		{`"offset":`, `"offset":9`},
		{`"tick":`, `"tick":-`},
		{`"seen":`, `"seen":9`},
		{`"alive"`, `"unknown"`},
		{`"spent":[[`, `"spent":[[6553`},
		{`"seen":`, `"turns":4294967295,"calm":9000,"mourned":9000,"flapping":true,"seen":`},
		{`"seen":`, `"mourned":-1,"seen":`},
		{`"slots":[{`, `"slots":[{"b":4294967295,"mem":3.4e38,`},
		{`"upbeat_snapshot":1`, `"upbeat_snapshot":1,"held":true,"left":9223372036854775807,"missing":["geocoding","x"]`},
	} {
		f.Add(bytes.Replace(whole, []byte(edit[0]), []byte(edit[1]), 1))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		mon := newMonitor(t, cfg)
		if err := mon.Restore(bytes.NewReader(input)); err != nil {
			require.ErrorIs(t, err, heartbeat.ErrSnapshot)
			require.NotContains(t, strings.TrimSuffix(err.Error(), "\n"), "\x1b")
			require.Equal(t, heartbeat.MonitorStats{}, mon.Stats())
			require.Empty(t, mon.Missing())
			require.NoError(t, mon.Restore(bytes.NewReader(whole)))
			return
		}
		require.LessOrEqual(t, mon.Stats().Instances, cfg.MaxInstances)
		require.LessOrEqual(t, mon.Stats().Bytes, int64(cfg.MaxBytes))
		for inst := range mon.Instances() {
			w := inst.Window
			require.GreaterOrEqual(t, min(w.Up, w.Down, w.Unknown), time.Duration(0))
			require.LessOrEqual(t, w.Up+w.Down+w.Unknown, 24*time.Hour+time.Second)
		}
		_ = mon.Observe([]byte(typicalBeat), 0)
		require.Len(t, states(restored(t, cfg, snapshot(t, mon))), mon.Stats().Instances)
	})
}
