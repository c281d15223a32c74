package heartbeat_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// multitude makes up the beats of many instances of a hundred services, without much work for each.
type multitude struct {
	payload []byte
	service int // where in payload the digits are
	id      int
	count   int
}

func newMultitude() *multitude {
	text := strings.Replace(typicalBeat, `"geocoding"`, `"geocoding00"`, 1)
	text = strings.Replace(text, `_count":60`, `_count":60000`, 1)
	return &multitude{
		payload: []byte(text), service: strings.Index(text, "geocoding") + len("geocoding"),
		id: strings.Index(text, "ef1234567890") + 2, count: strings.Index(text, "60000"),
	}
}

// beat returns beat number count (up to 9999) of instance i (up to 10^10), valid until the next call.
func (m *multitude) beat(i, count int) []byte {
	digits := func(at, n, digits int) {
		for ; digits > 0; digits-- {
			m.payload[at+digits-1] = byte('0' + n%10)
			n /= 10
		}
	}
	digits(m.service, i%100, 2)
	digits(m.id, i, 10)
	digits(m.count+1, count, 4)
	return m.payload
}

// As many as a monitor may hold: all are known, one more is refused, and who falls silent among them is told of, and
// nobody else.
func TestMonitor_HoldsAMultitude(t *testing.T) {
	t.Parallel()
	instances := testserver.Times(10_000, 1_000_000)
	synctest.Test(t, func(t *testing.T) {
		mon := newMonitor(t, heartbeat.MonitorConfig{
			MaxInstances: instances, EventBuffer: 1_000_000, Flapping: -1, Logger: slog.New(slog.DiscardHandler),
		})
		all := newMultitude()
		feed := func(count int, silent func(i int) bool) {
			for i := range instances {
				if !silent(i) {
					require.NoError(t, mon.Observe(all.beat(i, count), 0))
				}
			}
		}
		nobody := func(int) bool { return false }
		some := func(i int) bool { return i%97 == 5 }
		feed(1, nobody)
		require.ErrorIs(t, mon.Observe(all.beat(instances, 1), 0), heartbeat.ErrMonitorFull)
		told := follow(t, mon)
		for count := 2; count < 6; count++ {
			<-time.After(time.Minute)
			feed(count, some)
		}
		<-time.After(30 * time.Second)
		var stale, dead []string
		for _, e := range told() {
			switch e.Kind {
			case heartbeat.EventStale:
				stale = append(stale, e.Instance)
			case heartbeat.EventDead:
				dead = append(dead, e.Instance)
			default:
				t.Fatalf("%+v", e)
			}
		}
		var want []string
		for i := range instances {
			if some(i) {
				want = append(want, fmt.Sprintf("a1b2c3d4-e5f6-7890-abcd-ef%010d", i))
			}
		}
		slices.Sort(stale)
		slices.Sort(dead)
		require.Equal(t, want, dead)
		require.Equal(t, want, stale)
		alive := 0
		for sum := range mon.Services() {
			alive += sum.States[heartbeat.Alive]
		}
		require.Equal(t, instances-len(want), alive)
		stats := mon.Stats()
		require.Equal(t, instances, stats.Instances)
		require.EqualValues(t, 1, stats.Refused)
		require.Zero(t, stats.Trimmed)
		require.NoError(t, mon.Observe(all.beat(instances, 1), 0), "the dead make room")
	})
}

// BenchmarkMonitor_Look is one look of Run over a million instances, in which nothing is to be done, and what each of
// them weighs beside its newest beat. Run looks twice in a second.
func BenchmarkMonitor_Look(b *testing.B) {
	const instances = 1_000_000
	mon := newMonitor(b, heartbeat.MonitorConfig{MaxInstances: instances})
	all := newMultitude()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range instances {
		require.NoError(b, mon.Observe(all.beat(i, 1), 0))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		mon.Look(b.Context())
	}
	b.ReportMetric(float64(int64(after.HeapAlloc-before.HeapAlloc)-mon.Stats().Bytes)/instances, "B/instance")
	b.ReportMetric(float64(mon.Stats().Bytes)/instances, "B/beat")
}
