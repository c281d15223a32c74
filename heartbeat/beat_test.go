package heartbeat_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// plainBeat is what a sender without this library publishes.
const plainBeat = `{"service_name": "tracker_fetcher", "instance_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
	"timestamp": "2025-01-16T08:30:00.123456+00:00", "uptime_seconds": 3600.5, "heartbeat_count": 60,
	"memory_usage_mb": 156.3, "cpu_usage_percent": 12.5, "queue_size": 1380,
	"last_successful_operation": "2025-01-16T08:29:45.123456+00:00", "api_status": "authenticated"}`

func TestParseBeat_PlainSender(t *testing.T) {
	t.Parallel()
	beat, err := heartbeat.ParseBeat([]byte(plainBeat))
	require.NoError(t, err)
	own := maps.Collect(beat.Fields())
	require.Equal(t, map[string]json.RawMessage{
		"queue_size":                json.RawMessage("1380"),
		"last_successful_operation": json.RawMessage(`"2025-01-16T08:29:45.123456+00:00"`),
		"api_status":                json.RawMessage(`"authenticated"`),
	}, own)
	require.Equal(t, "tracker_fetcher", beat.Service)
	require.Equal(t, "a1b2c3d4-e5f6-7890-abcd-ef1234567890", beat.Instance)
	require.Equal(t, time.Date(2025, 1, 16, 8, 30, 0, 123456000, time.UTC), beat.Time)
	require.Equal(t, 3600*time.Second+500*time.Millisecond, beat.Uptime)
	require.EqualValues(t, 60, beat.Count)
	require.InDelta(t, 156.3, beat.MemoryMB, 0)
	require.InDelta(t, 12.5, beat.CPUPercent, 0)
	require.Zero(t, beat.Interval)
	require.Empty(t, beat.Phase)
}

func TestBeat_WireFormat(t *testing.T) {
	t.Parallel()
	var beat heartbeat.Beat
	require.NoError(t, json.Unmarshal([]byte(plainBeat), &beat))
	beat.Time = beat.Time.In(time.FixedZone("", 3600))
	beat.Interval, beat.Phase, beat.TickLate, beat.Run = 1500*time.Millisecond, heartbeat.PhaseDraining, 250*time.Millisecond, "RUN"
	beat.CollectorErrors = map[string]string{"z": "panic: boom", "a": "no value within 1s"}
	got, err := json.Marshal(beat)
	require.NoError(t, err)
	golden(t, "beat.golden", append(got, '\n'))

	again, err := heartbeat.ParseBeat(got)
	require.NoError(t, err)
	beat.Time = beat.Time.UTC()
	require.Equal(t, beat, again)
}

func TestBeat_WireFormatRefusesWhatJSONCannotHold(t *testing.T) {
	t.Parallel()
	_, err := heartbeat.Beat{MemoryMB: math.NaN(), Time: time.Unix(0, 0)}.MarshalJSON()
	require.ErrorContains(t, err, "NaN")
	_, err = heartbeat.Beat{Time: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}.MarshalJSON()
	require.ErrorContains(t, err, "year 12345")
}

// edited returns the plain beat with one member set to a raw JSON value.
func edited(t *testing.T, name, raw string) []byte {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(plainBeat), &members))
	members[name] = json.RawMessage(raw)
	payload, err := json.Marshal(members)
	require.NoError(t, err)
	return payload
}

func TestParseBeat_Timestamps(t *testing.T) {
	t.Parallel()
	tests := map[string]time.Time{
		"2025-01-16T08:30:00.123456+00:00":    time.Date(2025, 1, 16, 8, 30, 0, 123456000, time.UTC),
		"2025-01-16T09:30:00.123456+01:00":    time.Date(2025, 1, 16, 8, 30, 0, 123456000, time.UTC),
		"2025-01-16T08:30:00.123456789Z":      time.Date(2025, 1, 16, 8, 30, 0, 123456000, time.UTC),
		"2025-01-16T08:30:00Z":                time.Date(2025, 1, 16, 8, 30, 0, 0, time.UTC),
		"2025-01-16T08:30:00.5":               time.Date(2025, 1, 16, 8, 30, 0, 500000000, time.UTC),
		"2025-01-16T08:30:00":                 time.Date(2025, 1, 16, 8, 30, 0, 0, time.UTC),
		"2025-01-16T09:30:00.1+0100":          time.Date(2025, 1, 16, 8, 30, 0, 100000000, time.UTC),
		"9999-12-31T23:59:59.999999999-00:00": time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	}
	for stamp, want := range tests {
		t.Run(stamp, func(t *testing.T) {
			t.Parallel()
			beat, err := heartbeat.ParseBeat(edited(t, "timestamp", `"`+stamp+`"`))
			require.NoError(t, err)
			require.Equal(t, want, beat.Time)
		})
	}
}

func TestParseBeat_Refuses(t *testing.T) {
	t.Parallel()
	wide := `{"service_name":"s","instance_id":"i"`
	for i := range 1100 {
		wide += `,"` + strings.Repeat("f", 1+i%9) + string(rune('A'+i%26)) + time.Duration(i).String() + `":1`
	}
	tests := map[string]struct {
		payload []byte
		reason  string
	}{
		"empty":              {nil, "unexpected end"},
		"null":               {[]byte("null"), "service_name: it is empty"},
		"array":              {[]byte("[]"), "cannot unmarshal"},
		"text":               {[]byte("hello"), "invalid character"},
		"cut short":          {[]byte(plainBeat[:100]), "unexpected end"},
		"two":                {[]byte(plainBeat + plainBeat), "after top-level value"},
		"not UTF-8":          {[]byte("{\"service_name\":\"\xff\"}"), "UTF-8"},
		"large":              {edited(t, "x", `"`+strings.Repeat("x", heartbeat.MaxBeatBytes)+`"`), "want at most 131072"},
		"deep":               {edited(t, "x", strings.Repeat("[", 32)+strings.Repeat("]", 32)), "32 levels"},
		"wide":               {[]byte(wide + "}"), "want at most 1024"},
		"no service":         {edited(t, "service_name", "null"), "service_name: it is empty"},
		"no instance":        {edited(t, "instance_id", `""`), "instance_id: it is empty"},
		"escape in a name":   {edited(t, "service_name", `"\u001b[31m"`), "U+001B"},
		"long name":          {edited(t, "instance_id", `"`+strings.Repeat("x", 129)+`"`), "at most 128"},
		"service is number":  {edited(t, "service_name", "1"), "service_name: "},
		"timestamp number":   {edited(t, "timestamp", "1737016200"), "timestamp: "},
		"timestamp nonsense": {edited(t, "timestamp", `"yesterday\u001b"`), `"yesterday?"`},
		"year too late":      {edited(t, "timestamp", `"9999-12-31T23:59:59-10:00"`), "year 10000"},
		"uptime is text":     {edited(t, "uptime_seconds", `"3600"`), "uptime_seconds: "},
		"count negative":     {edited(t, "heartbeat_count", "-1"), "heartbeat_count is -1"},
		"count fraction":     {edited(t, "heartbeat_count", "1.5"), "heartbeat_count is 1.5"},
		"count enormous":     {edited(t, "heartbeat_count", "1e300"), "heartbeat_count is 1e+300"},
		"beyond float":       {edited(t, "memory_usage_mb", "1e999"), "memory_usage_mb: "},
		"ours is no object":  {edited(t, "upbeat", `"great"`), "upbeat: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beat, err := heartbeat.ParseBeat(tt.payload)
			require.ErrorContains(t, err, tt.reason)
			require.ErrorContains(t, err, "heartbeat: not a beat: ")
			require.Zero(t, beat)
		})
	}
}

func TestParseBeat_Tolerates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		name, raw string
		check     func(*require.Assertions, heartbeat.Beat)
	}{
		"count as a float": {"heartbeat_count", "60.0", func(r *require.Assertions, b heartbeat.Beat) { r.EqualValues(60, b.Count) }},
		"figures unknown":  {"memory_usage_mb", "null", func(r *require.Assertions, b heartbeat.Beat) { r.Zero(b.MemoryMB) }},
		"other case is another field": {"Timestamp", `"x"`, func(r *require.Assertions, b heartbeat.Beat) {
			_, found := b.Field("Timestamp")
			r.True(found)
			r.Equal(2025, b.Time.Year())
		}},
		"unprintable field name": {"a\x1b", "1", func(r *require.Assertions, b heartbeat.Beat) { r.Len(maps.Collect(b.Fields()), 3) }},
		"uptime enormous": {"uptime_seconds", "1e300", func(r *require.Assertions, b heartbeat.Beat) {
			r.Equal(100*365*24*time.Hour, b.Uptime)
		}},
		"uptime negative": {"uptime_seconds", "-5", func(r *require.Assertions, b heartbeat.Beat) { r.Zero(b.Uptime) }},
		"interval enormous": {"upbeat", `{"interval_seconds":1e300,"tick_late_seconds":1e300}`, func(r *require.Assertions, b heartbeat.Beat) {
			r.Equal(24*time.Hour, b.Interval)
			r.Equal(24*time.Hour, b.TickLate)
		}},
		"interval tiny": {"upbeat", `{"interval_seconds":0.001}`, func(r *require.Assertions, b heartbeat.Beat) { r.Equal(100*time.Millisecond, b.Interval) }},
		"unknown phase": {"upbeat", `{"state":"levitating"}`, func(r *require.Assertions, b heartbeat.Beat) { r.Empty(b.Phase) }},
		"newer version": {"upbeat", `{"v":9,"state":"stuck","more":{}}`, func(r *require.Assertions, b heartbeat.Beat) { r.Equal(heartbeat.PhaseStuck, b.Phase) }},
		"hostile reason": {"upbeat", `{"run":"\u001b","collector_errors":{"db":"\u001b[2J","\u0007":"x"}}`, func(r *require.Assertions, b heartbeat.Beat) {
			r.Equal(map[string]string{"db": "?[2J"}, b.CollectorErrors)
			r.Empty(b.Run)
		}},
		"brackets in text": {"x", `"` + strings.Repeat(`[{\"`, 50) + `"`, func(r *require.Assertions, b heartbeat.Beat) {
			r.Len(maps.Collect(b.Fields()), 4)
		}},
		"field order": {"a", "1", func(r *require.Assertions, b heartbeat.Beat) {
			var names []string
			for name := range b.Fields() {
				names = append(names, name)
			}
			r.True(slices.IsSorted(names))
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beat, err := heartbeat.ParseBeat(edited(t, tt.name, tt.raw))
			require.NoError(t, err)
			tt.check(require.New(t), beat)
		})
	}
}

func TestParseBeat_KeepsNothingOfThePayload(t *testing.T) {
	t.Parallel()
	payload := []byte(plainBeat)
	beat, err := heartbeat.ParseBeat(payload)
	require.NoError(t, err)
	clear(payload)
	raw, _ := beat.Field("queue_size")
	require.Equal(t, "1380", string(raw))
	require.Equal(t, "tracker_fetcher", beat.Service)
}

func FuzzParseBeat(f *testing.F) {
	f.Add([]byte(plainBeat))
	for _, name := range []string{"beat.golden", "publisher.golden"} {
		seed, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(seed)
	}
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"service_name":"s","instance_id":"i"}`, `{"service_name":"s","instance_id":"i","upbeat":null}`,
		`{"service_name":"s","instance_id":"i","timestamp":"0001-01-01T00:00:00+14:00"}`, `{"service_name":"s","instance_id":"i","":[[{"\"":1}]]}`,
		`{"service_name":"s","instance_id":"i","heartbeat_count":9007199254740993,"uptime_seconds":0.0005}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
		require.NoError(t, err)
		beat, err := heartbeat.ParseBeat(payload)
		require.Equal(t, err == nil, mon.Observe(payload, 0) == nil)
		if err != nil {
			require.Zero(t, mon.Stats().Instances)
			return
		}
		require.NoError(t, heartbeat.ValidateName(strings.NewReplacer(":", "", "{", "", "}", "", "*", "", "?", "", "[", "", "]", "", `\`, "", " ", "").
			Replace(beat.Service)+"x"), "nothing unprintable")
		sent, err := json.Marshal(beat)
		require.NoError(t, err)
		again, err := heartbeat.ParseBeat(sent)
		if len(sent) > heartbeat.MaxBeatBytes {
			return // a name of characters that JSON escapes
		}
		require.NoError(t, err)
		resent, err := json.Marshal(again)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, resent), "%s\n%s", sent, resent)
	})
}
