package rules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

var now = time.Date(2025, 1, 16, 8, 30, 0, 0, time.UTC)

func TestWindow_Edges(t *testing.T) {
	t.Parallel()
	w := rules.WindowAt(now.In(time.FixedZone("", -9*3600)), 48*time.Hour)
	require.Equal(t, rules.Window{From: time.Date(2025, 1, 14, 0, 0, 0, 0, time.UTC), To: now.Add(24 * time.Hour)}, rules.Window{From: w.From, To: w.To.UTC()})
	for name, c := range map[string]struct {
		at   time.Time
		want bool
	}{
		"first":  {w.From, true},
		"before": {w.From.Add(-1), false},
		"last":   {w.To.Add(-1), true},
		"behind": {w.To, false},
		"zero":   {time.Time{}, false},
	} {
		require.Equal(t, c.want, w.Holds(c.at), name)
		require.Equal(t, c.want, w.HoldsAll([]store.Message{{At: w.From}, {At: c.at}}), name)
	}
}

func TestWindow_WithoutRetentionReachesTheOldest(t *testing.T) {
	t.Parallel()
	w := rules.WindowAt(now, -1)
	require.Equal(t, time.Date(2024, 12, 17, 0, 0, 0, 0, time.UTC), w.From)
	require.Equal(t, w, w.Reaching(now))
	require.Equal(t, time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC), w.Reaching(time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)).From)
}

func TestChunks_LimitRowsAndBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sizes []int
		want  []int
	}{
		"nothing":        {nil, nil},
		"one":            {[]int{1}, []int{1}},
		"full":           {[]int{1, 1, 1}, []int{3}},
		"too many":       {[]int{1, 1, 1, 1}, []int{3, 1}},
		"too large":      {[]int{6, 5, 5}, []int{1, 2}},
		"one too large":  {[]int{99}, []int{1}},
		"each too large": {[]int{99, 99, 1}, []int{1, 1, 1}},
	} {
		var msgs []*store.Message
		for _, size := range c.sizes {
			msgs = append(msgs, &store.Message{Payload: make([]byte, size)})
		}
		var got []int
		var all []*store.Message
		for _, chunk := range rules.Chunks(msgs, 3, 10) {
			got = append(got, len(chunk))
			all = append(all, chunk...)
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, msgs, all, name)
	}
}

func TestAdmit_PayloadDepth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		payload string
		want    bool
	}{
		"limit":         {strings.Repeat("[", 1000) + strings.Repeat("]", 1000), true},
		"deeper":        {strings.Repeat("[", 1001) + strings.Repeat("]", 1001), false},
		"objects":       {strings.Repeat(`{"":`, 1001) + "1" + strings.Repeat("}", 1001), false},
		"wide":          {"[" + strings.Repeat("[],", 5000) + "[]]", true},
		"in a string":   {`["` + strings.Repeat("[", 5000) + `"]`, true},
		"after escapes": {`["\\","\"` + strings.Repeat("[", 5000) + `\\"]`, true},
	} {
		_, refused := rules.Admit([]store.Message{{ID: "1", At: now, Payload: []byte(c.payload)}}, rules.WindowAt(now, -1))
		require.Equal(t, c.want, len(refused) == 0, name)
	}
}

// FuzzAdmit holds that each message is admitted or refused, and that what is admitted can be stored.
func FuzzAdmit(f *testing.F) {
	f.Add("id", "service", []byte(`{"a":[1,"\u0000"]}`), int64(0))
	f.Add("\x00", "\xff", []byte(`"\ud800`), int64(1<<62))
	f.Add("", "", []byte(strings.Repeat("[", 3000)), int64(-1<<62))
	f.Fuzz(func(t *testing.T, id, service string, payload []byte, micros int64) {
		w := rules.WindowAt(now, -1)
		msgs := []store.Message{
			{ID: id, At: now, Payload: payload},
			{ID: "b", At: time.UnixMicro(micros | 1), Service: service, Status: id},
			{ID: "a", At: now.Add(time.Second)},
		}
		admitted, refused := rules.Admit(msgs, w)
		places := map[int]bool{}
		for _, m := range refused {
			require.NotEmpty(t, m.Reason)
			places[m.Index] = true
		}
		for _, m := range admitted {
			i := slices.IndexFunc(msgs, func(have store.Message) bool { return fmt.Sprint(have) == fmt.Sprint(*m) })
			places[i] = true
			require.True(t, w.Holds(m.At))
			require.True(t, len(m.Payload) == 0 || json.Valid(m.Payload))
			for _, text := range []string{m.ID, m.Service, m.Status, string(m.Payload)} {
				require.True(t, utf8.ValidString(text))
				require.False(t, bytes.ContainsRune([]byte(text), 0))
			}
		}
		require.True(t, slices.IsSortedFunc(admitted, func(a, b *store.Message) int { return a.At.Compare(b.At) }))
		require.Len(t, places, 3)
	})
}

// FuzzCheckJSON holds that it judges as the standard library does.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-0.5e+10,true,false,null,"x\\u00e9\\n"],"b":{}}`, `[]`, ` [ 1 , 2 ] `, `01`, `-`, `1.`, `1e`, `{"a"}`, `{"a":1,}`, `[1,]`, `"\\u12g4"`,
		`"\x01"`, `tru`, `[}`, `{]`, `{"":{}}x`, `"`, `"\\`, `{,}`, `nul`, `[1 2]`, `{"a":1 "b":2}`, "\"\x7f\u2028\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, refused := rules.Admit([]store.Message{{ID: "1", At: now, Payload: payload}}, rules.WindowAt(now, -1))
		deep := bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) > store.MaxPayloadDepth
		if want := len(payload) == 0 || utf8.Valid(payload) && json.Valid(payload); !deep {
			require.Equal(t, want, len(refused) == 0, "%q", payload)
		}
	})
}
