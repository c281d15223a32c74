package heartbeat_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// typicalBeat is what a Publisher with two collectors sends.
const typicalBeat = `{"service_name":"geocoding","instance_id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890",` +
	`"timestamp":"2025-01-16T08:30:00.123456+00:00","uptime_seconds":3600.5,"heartbeat_count":60,"memory_usage_mb":156.3,` +
	`"cpu_usage_percent":12.5,"cache_size":1380,"pending_requests":17,"upbeat":{"v":1,"interval_seconds":60,` +
	`"state":"running","tick_late_seconds":0.002,"run":"QXJ4ZTNmMjE","retain_seconds":600}}`

func TestMonitor_ReadsUsualBeatsAsParseBeatDoes(t *testing.T) {
	t.Parallel()
	quick := []string{typicalBeat, plainBeat, `{"service_name":"a","instance_id":"b"}`, `{"instance_id":"b","x":[[],{"y":null}],"service_name":"a","z":-1.5E+3}`}
	for _, text := range quick {
		took, agrees := heartbeat.ScanAgrees([]byte(text))
		require.True(t, took, text)
		require.True(t, agrees, text)
	}
	odd := []string{
		``, `{}`, `null`, `{"service_name":"a"}`, `{"service_name":"a","service_name":"b","instance_id":"i"}`, `{"service_name":"\u0061","instance_id":"i"}`,
		`{"service_name":"ä","instance_id":"i"}`, `{"service_name":"a","instance_id":"i","x":01}`, `{"service_name":"a","instance_id":"i"} x`,
		`{"service_name":"a","instance_id":"i","heartbeat_count":1.5}`, `{"service_name":"a","instance_id":"i","upbeat":{"Run":"x"}}`,
		`{"service_name":"a","instance_id":"i","timestamp":"0000-01-01T00:00:00Z"}`, `{"service_name":"a","instance_id":"i",}`,
		`{"service_name":"a","instance_id":"i","x":"` + "\x01" + `"}`, `{"service_name":"a","instance_id":"i","x":"` + "\xff" + `"}`,
	}
	for _, text := range odd {
		took, _ := heartbeat.ScanAgrees([]byte(text))
		require.False(t, took, text)
	}
}

func FuzzMonitor_ReadsAsParseBeatDoes(f *testing.F) {
	for _, seed := range []string{
		typicalBeat, plainBeat, `{"service_name":"a","instance_id":"b","uptime_seconds":1e3,"memory_usage_mb":123456789012345.678}`,
		`{"service_name":"a","instance_id":"b","upbeat":{"host":"h","container":{"x":[1]},"stuck_seconds":{"a":1}}}`,
		`{"service_name":"a","instance_id":"b","x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}`, "{\"service_name\":\"a\u2028\",\"instance_id\":\"b\\n\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, agrees := heartbeat.ScanAgrees(payload)
		require.True(t, agrees, "%q", payload)
	})
}

func TestMonitor_ObserveOfAKnownInstanceAllocatesNothing(t *testing.T) {
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	payloads := make([][]byte, 201)
	for i := range payloads {
		payloads[i] = fmt.Appendf(nil, `{"service_name":"s","instance_id":"i","timestamp":"2025-01-16T08:30:00.123456+00:00","heartbeat_count":%d,"x":[1,"two"]}`, i+1000)
	}
	i := 0
	require.Zero(t, testing.AllocsPerRun(len(payloads)-1, func() {
		_ = mon.Observe(payloads[i], 0)
		i++
	}))
	require.EqualValues(t, len(payloads), mon.Stats().Beats)
}

func TestMonitor_WeighsLittle(t *testing.T) {
	const instances = 100_000
	mon := newMonitor(t, heartbeat.MonitorConfig{})
	var before, after runtime.MemStats
	payload := []byte(typicalBeat)
	at := len(`{"service_name":"geocoding","instance_id":"`)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range instances {
		copy(payload[at:], fmt.Sprintf("%08d", i))
		require.NoError(t, mon.Observe(payload, 0))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc) - mon.Stats().Bytes) / instances
	t.Logf("%d bytes for each of %d instances, and %d for its newest beat", each, instances, mon.Stats().Bytes/instances)
	require.Less(t, each, int64(512))
	require.Equal(t, instances, mon.Stats().Instances)
}

func BenchmarkMonitor_ObserveTypical(b *testing.B) {
	mon := newMonitor(b, heartbeat.MonitorConfig{})
	payload := []byte(strings.Replace(typicalBeat, `_count":60`, `_count":100000000`, 1))
	last := strings.Index(string(payload), ":100000000") + 9
	next := func() []byte { // the same beat, one later
		at := last
		for ; payload[at] == '9'; at-- {
			payload[at] = '0'
		}
		payload[at]++
		return payload
	}
	b.Run("Observe", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if mon.Observe(next(), 0) != nil {
				b.Fatal("not a beat")
			}
		}
	})
	b.Run("Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var beat struct {
				Service  string    `json:"service_name"`
				Instance string    `json:"instance_id"`
				Time     time.Time `json:"timestamp"`
				Uptime   float64   `json:"uptime_seconds"`
				Count    uint64    `json:"heartbeat_count"`
				Memory   float64   `json:"memory_usage_mb"`
				CPU      float64   `json:"cpu_usage_percent"`
				Cache    int       `json:"cache_size"`
				Pending  int       `json:"pending_requests"`
				Ours     struct {
					Interval float64 `json:"interval_seconds"`
					State    string  `json:"state"`
					Late     float64 `json:"tick_late_seconds"`
					Run      string  `json:"run"`
				} `json:"upbeat"`
			}
			if json.Unmarshal(next(), &beat) != nil {
				b.Fatal("not a beat")
			}
		}
	})
}
