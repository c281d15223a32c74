package heartbeat_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// counted sums up what Instances yields, as Services ought to.
func counted(mon *heartbeat.Monitor) map[string]map[heartbeat.State]int {
	sums := map[string]map[heartbeat.State]int{}
	for inst := range mon.Instances() {
		if sums[inst.Service] == nil {
			sums[inst.Service] = map[heartbeat.State]int{}
		}
		sums[inst.Service][inst.State]++
	}
	return sums
}

func TestMonitor_ServicesAgreeWithInstances(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{Forget: time.Hour})
		say := func(service string, i int, phase heartbeat.Phase) {
			require.NoError(t, mon.Observe(fleet(t, i, 1, func(b *heartbeat.Beat) {
				b.Service, b.Phase, b.MemoryMB = service, phase, float64(10*(i+1))
			}), 0))
		}
		agree := func(want map[string]map[heartbeat.State]int) {
			require.Equal(t, want, counted(mon))
			got := map[string]map[heartbeat.State]int{}
			var names []string
			for sum := range mon.Services() {
				names = append(names, sum.Service)
				got[sum.Service] = sum.States
			}
			require.Equal(t, want, got)
			require.IsIncreasing(t, append([]string{""}, names...))
		}
		for i := range 3 {
			say("b", i, heartbeat.PhaseRunning)
		}
		<-time.After(100 * time.Second)
		for i := range 4 {
			say("b", i+10, heartbeat.PhaseRunning)
		}
		say("a", 0, heartbeat.PhaseStuck)
		say("a", 1, heartbeat.PhaseStopped)
		agree(map[string]map[heartbeat.State]int{
			"a": {heartbeat.Stuck: 1, heartbeat.Stopped: 1}, "b": {heartbeat.Stale: 3, heartbeat.Alive: 4},
		})
		b := services(mon)["b"].Window
		require.EqualValues(t, 7, b.Beats)
		require.InDelta(t, float64(10+20+30+110+120+130+140)/7, b.MemoryMB, 1e-3)
		require.InDelta(t, 300*time.Second, b.Unknown, float64(time.Second), "the sum of all")
		for range mon.Services() {
			break
		}
		<-time.After(62 * time.Minute)
		agree(map[string]map[heartbeat.State]int{"b": {heartbeat.Dead: 4}, "a": {heartbeat.Dead: 1}})
		<-time.After(2 * time.Minute)
		require.Empty(t, services(mon), "what is forgotten is not summed up either")
	})
}

// While beats come in, no instance is counted twice or left out.
func TestMonitor_ServicesWhileItIsFed(t *testing.T) {
	t.Parallel()
	const each = 60
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	feed := func(worker int, count uint64) {
		for i := range each {
			_ = mon.Observe(fleet(t, i, count, func(b *heartbeat.Beat) {
				b.Service = fmt.Sprint("s", worker)
				b.Phase = []heartbeat.Phase{heartbeat.PhaseRunning, heartbeat.PhaseStuck, heartbeat.PhaseStopped}[(uint64(i)+count)%3]
			}), 0)
		}
	}
	for worker := range 3 {
		feed(worker, 1)
	}
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			for count := range uint64(20) {
				feed(worker, count+2)
			}
		})
	}
	for range 50 {
		n := 0
		for sum := range mon.Services() {
			n++
			require.Equal(t, each, sum.States[heartbeat.Alive]+sum.States[heartbeat.Stuck]+sum.States[heartbeat.Stopped], "%v", sum)
		}
		require.Equal(t, 3, n)
	}
	wg.Wait()
	for _, sum := range services(mon) {
		require.Equal(t, counted(mon)[sum.Service], sum.States)
	}
}

func TestMonitor_WrongClocksAreShownAndJudgeNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MassShare: -1})
		told := follow(t, mon)
		off := []time.Duration{0, 5 * time.Hour, -5 * time.Hour, 90 * time.Second, -90 * time.Second, 24 * 365 * 10 * time.Hour, -24 * 365 * 10 * time.Hour}
		say := func(count uint64) {
			for i, d := range off {
				require.NoError(t, mon.Observe(fleet(t, i, count, func(b *heartbeat.Beat) { b.Time = time.Now().Add(d) }), 0))
			}
		}
		same := func(state heartbeat.State, kind heartbeat.EventKind) {
			for _, e := range told() {
				require.Equal(t, kind, e.Kind, "%+v", e)
			}
			i := 0
			for inst := range mon.Instances() {
				require.Equal(t, state, inst.State, "clock off by %v", off[i])
				require.InDelta(t, off[i], inst.Skew, float64(time.Millisecond))
				<-time.After(100 * time.Millisecond) // a slow reader sees the same
				i++
			}
		}
		say(1)
		same(heartbeat.Alive, heartbeat.EventStarted)
		<-time.After(91 * time.Second)
		same(heartbeat.Stale, heartbeat.EventStale)
		<-time.After(90 * time.Second)
		same(heartbeat.Dead, heartbeat.EventDead)
		say(2)
		same(heartbeat.Alive, heartbeat.EventRecovered)
	})
}

func TestMonitor_SkewOfABeatThatWasUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{})
		payload := encode(t, func(b *heartbeat.Beat) { b.Time = time.Now().Add(time.Hour) })
		<-time.After(30 * time.Second)
		require.NoError(t, mon.Observe(payload, 30*time.Second))
		require.Equal(t, time.Hour, only(t, mon).Skew)
		require.NoError(t, mon.Observe([]byte(`{"service_name":"geocoding","instance_id":"i1","heartbeat_count":2}`), 0))
		require.Zero(t, only(t, mon).Skew, "no time was said")
	})
}
