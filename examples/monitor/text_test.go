package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"plain":            {"tracker_fetcher", "tracker_fetcher"},
		"other scripts":    {"漢字 ñ 🚀", "漢字 ñ 🚀"},
		"escape":           {"a\x1b[2Jb", "a?[2Jb"},
		"8-bit control":    {"a\u009b31mb", "a?31mb"},
		"bell and newline": {"a\a\r\nb", "a???b"},
		"delete":           {"a\x7fb", "a?b"},
		"direction":        {"a\u202eb", "a?b"},
		"zero width":       {"a\u200bb\ufeffc", "a?b?c"},
		"two marks stay":   {"e\u0301\u0302", "e\u0301\u0302"},
		"piled up marks":   {"e" + strings.Repeat("\u0301", 1000) + "x\u0301", "e\u0301\u0301x\u0301"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, clean(tc.in))
		})
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"number":              {`1380`, "1380"},
		"word":                {`"authenticated"`, "authenticated"},
		"time":                {`"2025-01-16T08:29:45.123456+00:00"`, "2025-01-16T08:29:45.123456+00:00"},
		"null":                {`null`, "null"},
		"empty string":        {`""`, `""`},
		"with spaces":         {`"a b"`, `"a b"`},
		"as if another field": {`"1  queue_size=9"`, `"1  queue_size=9"`},
		"quotes":              {`"say \"x\""`, `"say \"x\""`},
		"escape":              {`"\u001b[2J\u0007"`, `"\x1b[2J\a"`},
		"8-bit control, raw":  {"\"\u009b31m\"", `"\u009b31m"`},
		"object on two lines": {"{\"a\": [1,\n 2]}", `{"a":[1,2]}`},
		"raw within object":   {"{\"a\":\"\u009b\u202e\x7f\"}", `{"a":"???"}`},
		"long":                {`"` + strings.Repeat("x", 100) + `"`, strings.Repeat("x", valueShown-1) + "…"},
		"wide and long":       {`"` + strings.Repeat("漢", 100) + `"`, strings.Repeat("漢", (valueShown-1)/2) + "…"},
		"huge":                {`"` + strings.Repeat("\u009b", 100000) + `"`, `"` + strings.Repeat("?", valueShown-2) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, value(json.RawMessage(tc.in)))
		})
	}
}

func TestColumnsAndCut(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": 0, "abc": 3, "漢字": 4, "e\u0301": 1, "🚀": 2, "ｆ": 2, "●": 1, "\ufffd": 1} {
		require.Equal(t, want, columns(in), in)
		require.Equal(t, in, cut(in, want))
		for room := range want {
			require.LessOrEqual(t, columns(cut(in, room)), room, in)
		}
	}
	require.Equal(t, "ab…", cut("abcd", 3))
	require.Equal(t, "漢…", cut("漢字", 3))
	require.Equal(t, "…", cut("漢字", 1))
	require.Empty(t, cut("abc", -1))
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0.0s": -time.Hour, "9.9s": 9900 * time.Millisecond, "59s": 59900 * time.Millisecond, "1m00s": time.Minute, "59m59s": time.Hour - 1,
		"1h12m": 72 * time.Minute, "1d00h": 24 * time.Hour, ">999d": 100 * 365 * 24 * time.Hour,
	} {
		require.Equal(t, want, short(d))
	}
	require.Equal(t, "156.3 MB", number(156.34, " MB"))
	require.Equal(t, ">9999999 MB", number(1e300, " MB"))
	require.Equal(t, "<0%", number(-1e300, "%"))
	require.Equal(t, "60", count(60))
	require.Equal(t, ">1e9", count(1<<53))
}

func TestShortID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"a1b2c3d4-e5f6-7890-abcd-ef1234567890": "a1b2c3d4",
		"worker-1":                             "worker-1",
		"geocoding-deployment-7f9c6d-abcde":    "…nt-7f9c6d-abcde",
		strings.Repeat("漢", 20):                "…" + strings.Repeat("漢", 7),
		"":                                     "",
	} {
		require.Equal(t, want, shortID(id))
	}
}

func TestEscaped_IsTheSameJSON(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"plain 漢 🚀", "\u009b\u202e\x7f\u200b", "\U000e0001 tag", "\x1b\r\n"} {
		line, err := json.Marshal(s)
		require.NoError(t, err)
		out := escaped(line)
		require.False(t, strings.ContainsFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", out)
		var back string
		require.NoError(t, json.Unmarshal([]byte(out), &back))
		require.Equal(t, s, back)
	}
}

// Whatever is published, what is shown of it is printable, and no wider than the terminal.
func FuzzBeat_CantSteerTheTerminal(f *testing.F) {
	for _, seed := range []string{
		`{"service_name":"s","instance_id":"i","queue_size":1380,"api_status":"authenticated"}`,
		`{"service_name":"漢字","instance_id":"e\u0301","x":"\u001b[2J","c1":"\u009b","y":{"a":["\u202e"]}}`,
		"{\"service_name\":\"s\",\"instance_id\":\"i\",\"x\":\"\u009b31m\x7f\",\"a=b c\":1}",
		`{"service_name":"s","instance_id":"i","upbeat":{"v":1,"state":"stuck","stuck_seconds":{"a b":1e300},"collector_errors":{"x":"\u001b"}}}`,
	} {
		f.Add([]byte(seed))
	}
	printable := func(t *testing.T, text string) {
		t.Helper()
		require.False(t, strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", text)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
		require.NoError(t, err)
		_ = mon.Observe(payload, 0)
		all := items(mon, nil, nil)
		for _, room := range []int{1, 40, 80, 200} {
			for _, l := range (view{items: all, stats: mon.Stats(), now: time.Now()}).lines(room, 10) {
				printable(t, l.plain())
				for _, s := range l {
					require.LessOrEqual(t, s.start+columns(cut(s.text, room-s.start)), max(room, s.start))
				}
			}
		}
		var out bytes.Buffer
		require.NoError(t, printJSON(&out, all))
		for object := range strings.Lines(out.String()) {
			printable(t, strings.TrimSuffix(object, "\n"))
			require.True(t, json.Valid([]byte(object)))
		}
	})
}
