package heartbeat_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// heavy returns a beat of instance i with a field of its own of about so many bytes.
func heavy(tb testing.TB, i int, count uint64, size int) []byte {
	tb.Helper()
	return fmt.Appendf(nil, `{"service_name":"geocoding","instance_id":"i%d","uptime_seconds":7,"heartbeat_count":%d,"memory_usage_mb":5,`+
		`"blob":%q,"upbeat":{"v":1,"interval_seconds":60,"state":"running","tick_late_seconds":0,"host":"h%d"}}`,
		i, count, strings.Repeat("x", size), i)
}

func TestMonitor_FieldsGoWhereThereIsNoRoomAndComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 20_000
		mon := newMonitor(t, heartbeat.MonitorConfig{MaxBytes: most, MassShare: -1, Forget: time.Hour})
		told := follow(t, mon)
		for i := range 10 {
			require.NoError(t, mon.Observe(heavy(t, i, 1, 5000), 0))
			require.LessOrEqual(t, mon.Stats().Bytes, int64(most))
		}
		stats := mon.Stats()
		require.Equal(t, 10, stats.Instances)
		require.Equal(t, uint64(10-withField(mon)), stats.Trimmed)
		require.Equal(t, 3, withField(mon), "what fits is kept as a whole")
		for inst := range mon.Instances() {
			require.Equal(t, heartbeat.Alive, inst.State)
			require.Equal(t, inst.ID, inst.Beat.Instance)
			require.EqualValues(t, 5, inst.Beat.MemoryMB, "only its own fields are left out")
			require.EqualValues(t, 1, inst.Beat.Count)
		}
		require.Equal(t, slices.Repeat([]heartbeat.EventKind{"started"}, 10), kinds(told()))

		<-time.After(4 * time.Minute)
		require.Len(t, told(), 20, "each stale and dead: verdicts go on")
		require.NoError(t, mon.Observe(heavy(t, 9, 2, 5000), 0))
		require.Equal(t, 3, withField(mon))
		require.Equal(t, []heartbeat.EventKind{"recovered"}, kinds(told()))
		<-time.After(62 * time.Minute)
		require.Equal(t, 1, mon.Stats().Instances)
		require.Zero(t, withField(mon))
		trimmed := mon.Stats().Trimmed
		require.NoError(t, mon.Observe(heavy(t, 9, 3, 5000), 0))
		require.Equal(t, 1, withField(mon), "there is room again")
		require.Equal(t, trimmed, mon.Stats().Trimmed)
	})
}

func withField(mon *heartbeat.Monitor) (n int) {
	for inst := range mon.Instances() {
		if _, found := inst.Beat.Field("blob"); found {
			n++
		}
	}
	return n
}

func TestMonitor_FiguresAreKeptWhereThereIsNoRoomAtAll(t *testing.T) {
	t.Parallel()
	const most, instances = 4096, 200
	mon := newMonitor(t, heartbeat.MonitorConfig{MaxBytes: most})
	for i := range instances {
		require.NoError(t, mon.Observe(heavy(t, i, 3, 1000), 0))
	}
	require.LessOrEqual(t, mon.Stats().Bytes, int64(most))
	n := 0
	for inst := range mon.Instances() {
		n++
		require.Equal(t, heartbeat.Alive, inst.State)
		require.Equal(t, []any{"geocoding", inst.ID, uint64(3), 7 * time.Second, time.Minute, heartbeat.PhaseRunning},
			[]any{inst.Beat.Service, inst.Beat.Instance, inst.Beat.Count, inst.Beat.Uptime, inst.Beat.Interval, inst.Beat.Phase})
		require.Zero(t, inst.Skew)
	}
	require.Equal(t, instances, n)
}

func TestMonitor_BytesStayWithinTheirBoundSideBySide(t *testing.T) {
	t.Parallel()
	const most = 100_000
	mon := newMonitor(t, heartbeat.MonitorConfig{MaxBytes: most})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range 400 {
				_ = mon.Observe(heavy(t, worker*50+n%50, uint64(n+1), 100*(n%37)), 0)
				if bytes := mon.Stats().Bytes; bytes > most {
					t.Errorf("%d bytes: want at most %d", bytes, most)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 400, mon.Stats().Instances)
	require.Positive(t, mon.Stats().Trimmed)
}

func TestMonitor_TheOldestDeadMakesRoomAndNeverALivingOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MaxInstances: 4, Forget: -1, MassShare: -1})
		_ = follow(t, mon)
		say := func(id string, phase heartbeat.Phase, age time.Duration) error {
			return mon.Observe(encode(t, func(b *heartbeat.Beat) {
				b.Instance, b.Phase, b.Count = id, phase, uint64(time.Now().Unix())
			}), age)
		}
		ids := func() (all []string) {
			for inst := range mon.Instances() {
				all = append(all, inst.ID)
			}
			return all
		}
		require.NoError(t, say("dead", heartbeat.PhaseRunning, 0))
		<-time.After(10 * time.Minute)
		require.NoError(t, say("stopped", heartbeat.PhaseStopped, 0))
		require.NoError(t, say("stale", heartbeat.PhaseRunning, 0))
		<-time.After(100 * time.Second)
		require.NoError(t, say("alive", heartbeat.PhaseRunning, 0))
		<-time.After(2 * time.Second)
		require.NoError(t, say("new1", heartbeat.PhaseRunning, 0))
		require.Equal(t, []string{"alive", "new1", "stale", "stopped"}, ids(), "the one that has been gone for longest")
		require.ErrorIs(t, say("new2", heartbeat.PhaseRunning, 0), heartbeat.ErrMonitorFull, "room is not looked for twice in a second")
		<-time.After(time.Second)
		require.NoError(t, say("new2", heartbeat.PhaseRunning, 0))
		require.Equal(t, []string{"alive", "new1", "new2", "stale"}, ids())
		<-time.After(10 * time.Second)
		require.ErrorIs(t, say("new3", heartbeat.PhaseRunning, 0), heartbeat.ErrMonitorFull, "neither stale nor alive ones give way")
		require.Equal(t, []string{"alive", "new1", "new2", "stale"}, ids())
		require.EqualValues(t, 2, mon.Stats().Refused)
		require.EqualValues(t, 2, mon.Stats().Forgotten)
	})
}

func TestMonitor_NeverHoldsMoreSideBySide(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{MaxInstances: 100})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				_ = mon.Observe(fleet(t, worker/2*100+i, 1), 0)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 100, mon.Stats().Instances)
	require.Len(t, slices.Collect(mon.Instances()), 100)
	require.Positive(t, mon.Stats().Refused)
}

func TestMonitor_OneLargeBeatDoesNotKeepItsRoom(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	require.NoError(t, mon.Observe(heavy(t, 1, 1, 100_000), 0))
	require.Greater(t, mon.Stats().Bytes, int64(100_000))
	require.NoError(t, mon.Observe(heavy(t, 1, 2, 10), 0))
	require.Less(t, mon.Stats().Bytes, int64(1000))
}

func TestMonitor_ServicesThatComeAndGoLeaveNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{MaxInstances: 10})
		for i := range 1000 {
			require.NoError(t, mon.Observe(fmt.Appendf(nil, `{"service_name":"s%d","instance_id":"i","upbeat":{"state":"stopped"}}`, i), 0))
			<-time.After(time.Second)
		}
		require.Equal(t, 10, mon.Stats().Instances)
		require.Equal(t, 10, mon.Groups())
		require.EqualValues(t, 990, mon.Stats().Forgotten)
	})
}

func TestMonitor_MissedIsCountedWithoutEnd(t *testing.T) {
	t.Parallel()
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	for _, count := range []uint64{1, 1 << 52, 1 << 53} {
		require.NoError(t, mon.Observe(numbered(t, count), 0))
	}
	require.Equal(t, uint64(1<<53-3), only(t, mon).Missed)
	require.Equal(t, uint64(1<<32-1), only(t, mon).Window.Missed, "no more than that fits")
	for life := range uint64(5000) { // each of them counts from 1
		require.NoError(t, mon.Observe(encode(t, func(b *heartbeat.Beat) { b.Count, b.Run = 1<<53, fmt.Sprint("life", life) }), 0))
	}
	require.Greater(t, only(t, mon).Missed, uint64(1<<63), "and it never wraps")
}
