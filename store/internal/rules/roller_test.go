package rules_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

func rollups(payloads ...string) map[string]store.Rollup {
	var r rules.Roller
	for _, p := range payloads {
		r.Add(now, []byte("s"), []byte(p))
	}
	all := map[string]store.Rollup{}
	for _, rollup := range r.Rollups() {
		all[rollup.Metric] = rollup
	}
	return all
}

func TestRoller_TakesNumbersAtTheTop(t *testing.T) {
	t.Parallel()
	got := rollups(
		` { "a" : 1 ,"b":-2.5e1,"c":"3","d":true,"e":null,"f":[4,{"a":9}],"g":{"a":[9]},"h":0 } `,
		`{"a":3,"heartbeat_count":7,"\u0061":5,"k\u0000":1,"big":1e999,"x\"y":8}`,
		`[1,2]`, `5`, `{}`, ``, `"{\"a\":1}"`,
	)
	require.ElementsMatch(t, []string{"", "a", "b", "h", "big", `x"y`}, slices.Collect(maps.Keys(got)))
	require.EqualValues(t, 7, got[""].Count)
	require.Empty(t, got[""].Buckets)
	a := got["a"]
	require.EqualValues(t, 3, a.Count)
	require.Equal(t, []float64{1, 5, 9, 3}, []float64{a.Min, a.Max, a.Sum, a.Mean()})
	require.Len(t, a.Buckets, 3)
	require.Equal(t, -25.0, got["b"].Sum)
	require.False(t, math.IsInf(got["big"].Sum, 0))
	require.Equal(t, now.Truncate(time.Minute), a.Minute)
}

func TestRoller_KeepsTheFirstMetricsByName(t *testing.T) {
	t.Parallel()
	payload := func(i int) string { return fmt.Sprintf(`{"m%04d":1}`, i) }
	for _, step := range []int{1, 7, 999} { // each makes an order of its own
		var payloads []string
		for i := range 1000 {
			payloads = append(payloads, payload(i*step%1000))
		}
		got := rollups(payloads...)
		require.Len(t, got, 1+store.MaxMetrics)
		require.Contains(t, got, fmt.Sprintf("m%04d", store.MaxMetrics-1))
	}
}

// FuzzRoller compares with the standard library what it makes of one message.
func FuzzRoller(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[2,"}"],"c":{"d":"]"},"e":-0.5e-3 }`))
	f.Add([]byte(`{"a\\":"\"","b":12}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, refused := rules.Admit([]store.Message{{ID: "1", At: now, Payload: payload}}, rules.WindowAt(now, -1))
		if len(refused) > 0 {
			return
		}
		got := rollups(string(payload))
		var want map[string]any
		_ = json.Unmarshal(payload, &want)
		for name, value := range want {
			text, err := json.Marshal(name)
			require.NoError(t, err)
			v, isNumber := value.(float64)
			if !isNumber || name == "heartbeat_count" || len(name) > store.MaxNameBytes || name == "" || string(text) != strconv.Quote(name) {
				continue
			}
			require.Contains(t, got, name, "%q", payload)
			require.GreaterOrEqual(t, got[name].Max, min(v, 1e100))
		}
	})
}
