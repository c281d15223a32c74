package heartbeat_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestThresholds_Judge(t *testing.T) {
	t.Parallel()
	const s = time.Second
	own := heartbeat.Thresholds{Stale: 150 * s, Dead: 300 * s}
	tests := map[string]struct {
		thresholds          heartbeat.Thresholds
		age, interval, late time.Duration
		want                heartbeat.State
	}{
		"just heard":                 {age: 0, interval: 60 * s, want: heartbeat.Alive},
		"under 90":                   {age: 90*s - 1, interval: 60 * s, want: heartbeat.Alive},
		"at 90":                      {age: 90 * s, interval: 60 * s, want: heartbeat.Stale},
		"under 180":                  {age: 180*s - 1, interval: 60 * s, want: heartbeat.Stale},
		"at 180":                     {age: 180 * s, interval: 60 * s, want: heartbeat.Dead},
		"very old":                   {age: 1 << 62, interval: 60 * s, want: heartbeat.Dead},
		"from the future":            {age: -s, interval: 60 * s, want: heartbeat.Alive},
		"interval unknown, under 90": {age: 90*s - 1, want: heartbeat.Alive},
		"interval unknown, at 90":    {age: 90 * s, want: heartbeat.Stale},
		"interval 10s, under 15":     {age: 15*s - 1, interval: 10 * s, want: heartbeat.Alive},
		"interval 10s, at 15":        {age: 15 * s, interval: 10 * s, want: heartbeat.Stale},
		"interval 10s, at 30":        {age: 30 * s, interval: 10 * s, want: heartbeat.Dead},
		"interval 24h, under 36h":    {age: 36*time.Hour - 1, interval: 24 * time.Hour, want: heartbeat.Alive},
		"interval 24h, at 72h":       {age: 72 * time.Hour, interval: 24 * time.Hour, want: heartbeat.Dead},
		"late 20s, under 110":        {age: 110*s - 1, interval: 60 * s, late: 20 * s, want: heartbeat.Alive},
		"late 20s, at 110":           {age: 110 * s, interval: 60 * s, late: 20 * s, want: heartbeat.Stale},
		"late 20s, at 200":           {age: 200 * s, interval: 60 * s, late: 20 * s, want: heartbeat.Dead},
		"late beyond all reason":     {age: 240 * s, interval: 60 * s, late: time.Hour, want: heartbeat.Dead},
		"early":                      {age: 90 * s, interval: 60 * s, late: -time.Hour, want: heartbeat.Stale},
		"own thresholds, under 150":  {thresholds: own, age: 150*s - 1, interval: 60 * s, want: heartbeat.Alive},
		"own thresholds, scaled":     {thresholds: own, age: 25 * s, interval: 10 * s, want: heartbeat.Stale},
		"own dead, stale as usual":   {thresholds: heartbeat.Thresholds{Dead: 300 * s}, age: 180 * s, interval: 60 * s, want: heartbeat.Stale},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.thresholds.For(tt.interval, tt.late).Judge(tt.age))
		})
	}
	require.Equal(t, heartbeat.Stale, heartbeat.Thresholds{}.Judge(90*s), "the zero value is of use")
}

func TestState_Text(t *testing.T) {
	t.Parallel()
	for state, word := range map[heartbeat.State]string{
		heartbeat.Unknown: "unknown", heartbeat.Alive: "alive", heartbeat.Stale: "stale",
		heartbeat.Dead: "dead", heartbeat.Stuck: "stuck", heartbeat.Stopped: "stopped",
	} {
		require.Equal(t, word, state.String())
		encoded, err := json.Marshal(state)
		require.NoError(t, err)
		require.Equal(t, `"`+word+`"`, string(encoded))
		var decoded heartbeat.State
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		require.Equal(t, state, decoded)
	}
	require.Equal(t, "State(99)", heartbeat.State(99).String())
	var state heartbeat.State
	require.ErrorContains(t, state.UnmarshalText([]byte("undead\x1b")), `"undead?" is no state`)
}
