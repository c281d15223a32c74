package heartbeat_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func newMonitor(tb testing.TB, cfg heartbeat.MonitorConfig) *heartbeat.Monitor {
	tb.Helper()
	mon, err := heartbeat.NewMonitor(nil, cfg)
	require.NoError(tb, err)
	return mon
}

// encode returns the payload of a beat of geocoding/i1, changed by edit.
func encode(tb testing.TB, edit func(*heartbeat.Beat)) []byte {
	tb.Helper()
	beat := heartbeat.Beat{Service: "geocoding", Instance: "i1", Count: 1, Interval: time.Minute, Phase: heartbeat.PhaseRunning, Run: "A"}
	edit(&beat)
	payload, err := json.Marshal(beat)
	require.NoError(tb, err)
	return payload
}

func numbered(tb testing.TB, count uint64) []byte {
	tb.Helper()
	return encode(tb, func(b *heartbeat.Beat) { b.Count = count; b.Uptime = time.Duration(count-1) * time.Minute })
}

// only returns the one instance that mon knows.
func only(tb testing.TB, mon *heartbeat.Monitor) heartbeat.Instance {
	tb.Helper()
	all := slices.Collect(mon.Instances())
	require.Len(tb, all, 1)
	return all[0]
}

func TestMonitor_JudgesByAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		require.NoError(t, mon.Observe([]byte(plainBeat), 0))
		steps := []struct {
			wait  time.Duration
			state heartbeat.State
			why   string
		}{
			{0, heartbeat.Alive, "last beat 0s ago: stale from 1m30s"},
			{90*time.Second - 1, heartbeat.Alive, "last beat 1m30s ago: stale from 1m30s"},
			{1, heartbeat.Stale, "last beat 1m30s ago: stale from 1m30s, dead from 3m0s"},
			{90*time.Second - 1, heartbeat.Stale, "last beat 3m0s ago: stale from 1m30s, dead from 3m0s"},
			{1, heartbeat.Dead, "last beat 3m0s ago: dead from 3m0s"},
		}
		for _, step := range steps {
			<-time.After(step.wait)
			got := only(t, mon)
			require.Equal(t, step.state, got.State)
			require.Equal(t, step.why, got.Why)
		}
		got := only(t, mon)
		require.Equal(t, "tracker_fetcher", got.Service)
		require.Equal(t, "a1b2c3d4-e5f6-7890-abcd-ef1234567890", got.ID)
		require.Equal(t, 3*time.Minute, got.Age)
		require.EqualValues(t, 60, got.Count)
		require.Zero(t, got.Missed, "who comes late has missed nothing")
		require.Equal(t, 3600*time.Second+500*time.Millisecond, got.Uptime)
		require.Equal(t, 2025, got.Beat.Time.Year())
	})
}

func TestMonitor_AgeBeginsInTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		require.NoError(t, mon.Observe(numbered(t, 1), 2*time.Minute))
		require.Equal(t, heartbeat.Stale, only(t, mon).State)
		require.Equal(t, 2*time.Minute, only(t, mon).Age)
		require.NoError(t, mon.Observe(numbered(t, 2), -time.Hour))
		<-time.After(time.Minute)
		require.Equal(t, time.Minute, only(t, mon).Age, "nothing comes from the future")
		require.NoError(t, mon.Observe(numbered(t, 3), time.Hour))
		require.Equal(t, time.Minute, only(t, mon).Age, "what is newer was not sent earlier")
		require.EqualValues(t, 3, only(t, mon).Count)
	})
}

func TestMonitor_NoAgeIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{math.MaxInt64, time.Since(time.Time{}), 250 * 365 * 24 * time.Hour} {
		mon := newMonitor(t, heartbeat.MonitorConfig{Forget: -1})
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Count, b.Uptime, b.Run = 2, math.MaxInt64, "" }), age))
		require.Equal(t, heartbeat.Dead, only(t, mon).State)
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Count, b.Uptime, b.Run = 1, math.MaxInt64, "" }), age))
		require.Zero(t, only(t, mon).Restarts, "an older beat")
	}
}

func TestMonitor_ScalesWithTheSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		fast := func(b *heartbeat.Beat) { b.Interval, b.TickLate = 10*time.Second, 3*time.Second }
		require.NoError(t, mon.Observe(encode(t, fast), 0))
		<-time.After(18*time.Second - 1)
		require.Equal(t, heartbeat.Alive, only(t, mon).State)
		<-time.After(1)
		require.Equal(t, heartbeat.Stale, only(t, mon).State)
		<-time.After(15 * time.Second)
		require.Equal(t, heartbeat.Dead, only(t, mon).State)
	})
}

func TestMonitor_GoodbyeAndItsRevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		phase := func(count uint64, phase heartbeat.Phase) []byte {
			return encode(t, func(b *heartbeat.Beat) { b.Count, b.Phase = count, phase })
		}
		require.NoError(t, mon.Observe(phase(5, heartbeat.PhaseDraining), 0))
		require.Equal(t, heartbeat.Alive, only(t, mon).State)
		require.NoError(t, mon.Observe(phase(6, heartbeat.PhaseStopped), 0))
		require.Equal(t, heartbeat.Stopped, only(t, mon).State)
		require.NoError(t, mon.Observe(phase(5, heartbeat.PhaseDraining), 0))
		<-time.After(time.Hour)
		require.Equal(t, heartbeat.Stopped, only(t, mon).State, "neither a late message nor time make it anything else")
		require.Equal(t, "said goodbye 1h0m0s ago", only(t, mon).Why)
		require.NoError(t, mon.Observe(phase(7, heartbeat.PhaseRunning), 0))
		require.Equal(t, heartbeat.Alive, only(t, mon).State)

		require.NoError(t, mon.Observe(phase(8, heartbeat.PhaseStuck), 0))
		require.Equal(t, heartbeat.Stuck, only(t, mon).State)
		<-time.After(100 * time.Second)
		require.Equal(t, heartbeat.Stale, only(t, mon).State)
	})
}

func TestMonitor_OldBeatsChangeNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		for _, count := range []uint64{10, 11, 14} {
			require.NoError(t, mon.Observe(numbered(t, count), 0))
		}
		<-time.After(time.Minute)
		before := only(t, mon)
		require.EqualValues(t, 2, before.Missed)
		for _, count := range []uint64{14, 13, 1, 12, 14} {
			require.NoError(t, mon.Observe(numbered(t, count), 0))
		}
		require.Equal(t, before, only(t, mon))
		stats := mon.Stats()
		require.EqualValues(t, 3, stats.Beats)
		require.EqualValues(t, 5, stats.Old)
	})
}

// A monitor is shown the beats of an instance in any order, some twice: it ends where the newest says, and has
// missed no more than what it was not shown before a later one.
func TestMonitor_AnyOrderEndsAtTheNewest(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		var shown []uint64
		for range 30 {
			shown = append(shown, 1+random.Uint64N(20))
		}
		var newest, missed, news uint64
		for _, count := range shown {
			require.NoError(t, mon.Observe(numbered(t, count), 0))
			if count > newest {
				if newest > 0 {
					missed += count - newest - 1
				}
				newest = count
				news++
			}
		}
		got := only(t, mon)
		require.Equal(t, newest, got.Count, "seed %d: %v", seed, shown)
		require.Equal(t, missed, got.Missed, "seed %d: %v", seed, shown)
		require.Equal(t, news, mon.Stats().Beats)
		require.EqualValues(t, 30-news, mon.Stats().Old)
	}
}

func TestMonitor_RestartUnderTheSameName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		life := func(run string, count uint64) []byte {
			return encode(t, func(b *heartbeat.Beat) { b.Run, b.Count = run, count })
		}
		require.NoError(t, mon.Observe(life("A", 1000), 0))
		require.NoError(t, mon.Observe(life("B", 3), 0))
		got := only(t, mon)
		require.EqualValues(t, 3, got.Count, "a new life counts from 1")
		require.EqualValues(t, 2, got.Missed)
		require.NoError(t, mon.Observe(life("A", 1001), 0))
		require.Equal(t, "B", only(t, mon).Beat.Run, "the old life does not come back")
		require.NoError(t, mon.Observe(life("B", 4), 0))
		require.EqualValues(t, 4, only(t, mon).Count)
	})
}

func TestMonitor_RestartOfAPlainSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		plain := func(count uint64, uptime time.Duration) []byte {
			return fmt.Appendf(nil, `{"service_name":"s","instance_id":"i","heartbeat_count":%d,"uptime_seconds":%g}`, count, uptime.Seconds())
		}
		require.NoError(t, mon.Observe(plain(100, 99*time.Minute), 0))
		<-time.After(5 * time.Minute)
		require.NoError(t, mon.Observe(plain(60, 59*time.Minute), 45*time.Minute))
		require.EqualValues(t, 100, only(t, mon).Count, "a late message")
		require.NoError(t, mon.Observe(plain(3, 2*time.Minute), 0))
		require.EqualValues(t, 3, only(t, mon).Count, "it has begun since it was last heard")
		require.EqualValues(t, 2, only(t, mon).Missed)
		require.Equal(t, heartbeat.Alive, only(t, mon).State)

		require.NoError(t, mon.Observe([]byte(`{"service_name":"s","instance_id":"i"}`), 0))
		require.Zero(t, only(t, mon).Count, "without a count what comes later is newer")
	})
}

func TestMonitor_BadInputIsCounted(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	require.NoError(t, mon.Observe([]byte(plainBeat), 0))
	before := only(t, mon)
	require.ErrorContains(t, mon.Observe([]byte("\x1b[2J"), 0), "not a beat")
	require.Error(t, mon.Observe([]byte(`{"service_name":"a\u001bb","instance_id":"i"}`), 0))
	after := only(t, mon)
	after.Age, after.Why, after.Skew = before.Age, before.Why, before.Skew
	require.Equal(t, before, after)
	stats := mon.Stats()
	require.EqualValues(t, 2, stats.Bad)
	require.EqualValues(t, 1, stats.Beats)
	require.Contains(t, stats.LastBad, "service_name")
	require.NotContains(t, stats.LastBad, "\x1b")
}

func TestMonitor_HoldsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MaxInstances: 2, Forget: time.Hour})
		named := func(name string, phase heartbeat.Phase) []byte {
			return encode(t, func(b *heartbeat.Beat) { b.Instance, b.Phase = name, phase })
		}
		require.NoError(t, mon.Observe(named("a", heartbeat.PhaseRunning), 0))
		require.NoError(t, mon.Observe(named("b", heartbeat.PhaseRunning), 0))
		require.ErrorIs(t, mon.Observe(named("c", heartbeat.PhaseRunning), 0), heartbeat.ErrMonitorFull)
		require.NoError(t, mon.Observe(named("b", heartbeat.PhaseRunning), 0), "who is known is heard")
		require.EqualValues(t, 1, mon.Stats().Refused)
		require.Equal(t, 2, mon.Stats().Instances)

		<-time.After(2 * time.Minute)
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Instance, b.Count = "b", 2 }), 0))
		<-time.After(time.Minute)
		require.NoError(t, mon.Observe(named("c", heartbeat.PhaseRunning), 0), "a is dead: a living one takes its place")
		require.EqualValues(t, 1, mon.Stats().Forgotten)
		require.Equal(t, 2, mon.Stats().Instances)
	})
}

func TestMonitor_ForgetsTheGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Forget: time.Hour})
		keeper := newMonitor(t, heartbeat.MonitorConfig{Forget: -1})
		require.NoError(t, mon.Observe(numbered(t, 1), 0))
		require.NoError(t, keeper.Observe(numbered(t, 1), 0))
		<-time.After(time.Hour + 3*time.Minute - 1)
		require.Equal(t, heartbeat.Dead, only(t, mon).State)
		<-time.After(1)
		require.Empty(t, slices.Collect(mon.Instances()), "dead for an hour")
		<-time.After(1000 * time.Hour)
		require.Equal(t, heartbeat.Dead, only(t, keeper).State)
	})
}

func TestMonitor_InstancesAreSortedAndASnapshot(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	names := [][2]string{{"b", "2"}, {"a", "9"}, {"b", "1"}, {"a", "10"}, {"ab", "1"}}
	for _, name := range names {
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Service, b.Instance = name[0], name[1] }), 0))
	}
	var got [][2]string
	for inst := range mon.Instances() {
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Service = "during the loop" }), 0))
		got = append(got, [2]string{inst.Service, inst.ID})
	}
	require.Equal(t, [][2]string{{"a", "10"}, {"a", "9"}, {"ab", "1"}, {"b", "1"}, {"b", "2"}}, got)
	for range mon.Instances() {
		break
	}
}

func TestMonitor_ConcurrentUse(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint64(100) {
				_ = mon.Observe(numbered(t, i+1), 0)
				for range mon.Instances() {
					_ = mon.Stats()
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 100, only(t, mon).Count)
}

func TestMonitorConfig_WrongFieldIsNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  heartbeat.MonitorConfig
		want string
	}{
		"stale too soon":   {heartbeat.MonitorConfig{Thresholds: heartbeat.Thresholds{Stale: time.Minute}}, "MonitorConfig.Thresholds is 1m0s and 3m0s"},
		"dead before":      {heartbeat.MonitorConfig{Thresholds: heartbeat.Thresholds{Stale: 4 * time.Minute}}, "want 60s < Stale < Dead <= 24h"},
		"dead late":        {heartbeat.MonitorConfig{Thresholds: heartbeat.Thresholds{Dead: 25 * time.Hour}}, "1m30s and 25h0m0s"},
		"forget at once":   {heartbeat.MonitorConfig{Forget: time.Second}, "MonitorConfig.Forget is 1s: want 1m0s to"},
		"instances beyond": {heartbeat.MonitorConfig{MaxInstances: -1}, "MonitorConfig.MaxInstances is -1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := heartbeat.NewMonitor(nil, tt.cfg)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
