package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

// fleet is what a monitor knows of a service in each state, and when.
func fleet(t *testing.T) (all []item, now time.Time) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
		require.NoError(t, err)
		sender := func(service, instance string, fields map[string]any) *heartbeattest.Sender {
			s := heartbeattest.NewSender(mon, service, instance)
			s.Beat.MemoryMB, s.Beat.CPUPercent, s.Fields = 156.34, 12.5, fields
			return s
		}
		send := func(err error) { require.NoError(t, err) }
		send(sender("dead", "a1b2c3d4-e5f6-7890-abcd-ef1234567890", nil).Send())
		stopped := sender("stopped", "worker-1", nil)
		send(stopped.Send())
		send(stopped.Stop())
		<-time.After(2 * time.Minute)
		send(sender("stale", "worker-1", map[string]any{"cache_size": 5}).Send())
		<-time.After(100 * time.Second)
		send(sender("tracker_fetcher", "b1b2c3d4-e5f6-7890-abcd-ef1234567890", map[string]any{"queue_size": 1380, "api_status": "authenticated"}).Send())
		stuck := sender("漢字", "geocoding-deployment-7f9c6d-abcde", map[string]any{"pending_requests": 17})
		stuck.Beat.Phase, stuck.Beat.Stuck = heartbeat.PhaseStuck, map[string]time.Duration{"fetch": 3 * time.Minute}
		send(stuck.Send())
		<-time.After(15 * time.Second)
		all, now = items(mon, []string{"billing", "stale"}, func(string) string { return missing }), time.Now().UTC()
	})
	return all, now
}

func plain(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.plain() + "\n")
	}
	return b.String()
}

func TestTable_Golden(t *testing.T) {
	t.Parallel()
	for room, want := range map[int]string{
		140: `
   SERVICE          INSTANCE          LAST BEAT    AGE  UPTIME  BEATS    MEMORY    CPU  STATE    DATA
✗  billing          -                 -              -       -      -         -      -  missing
✗  dead             a1b2c3d4          00:00:00   3m55s    0.0s      1  156.3 MB  12.5%  dead
◐  stale            worker-1          00:02:00   1m55s    0.0s      1  156.3 MB  12.5%  stale    cache_size=5
○  stopped          worker-1          00:00:00   3m55s    0.0s      2  156.3 MB  12.5%  stopped
●  tracker_fetcher  b1b2c3d4          00:03:40     15s    0.0s      1  156.3 MB  12.5%  alive    api_status=authenticated  queue_size=1380
■  漢字             …nt-7f9c6d-abcde  00:03:40     15s    0.0s      1  156.3 MB  12.5%  stuck    stuck(fetch 3m00s)  pending_requests=17
`,
		80: `
   SERVICE          INSTANCE            AGE  UPTIME  BEATS    CPU  STATE
✗  billing          -                     -       -      -      -  missing
✗  dead             a1b2c3d4          3m55s    0.0s      1  12.5%  dead
◐  stale            worker-1          1m55s    0.0s      1  12.5%  stale
    cache_size=5
○  stopped          worker-1          3m55s    0.0s      2  12.5%  stopped
●  tracker_fetcher  b1b2c3d4            15s    0.0s      1  12.5%  alive
    api_status=authenticated  queue_size=1380
■  漢字             …nt-7f9c6d-abcde    15s    0.0s      1  12.5%  stuck
    stuck(fetch 3m00s)  pending_requests=17
`,
	} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			t.Parallel()
			all, now := fleet(t)
			head, rows, _ := table(all, room, now)
			lines := []line{head}
			for _, row := range rows {
				lines = append(lines, row...)
			}
			require.Equal(t, want, "\n"+plain(lines))
		})
	}
}

func TestView_TheWorstIsShownWhereNotAllFit(t *testing.T) {
	t.Parallel()
	all, now := fleet(t)
	v := view{redis: "localhost:6379", now: now, items: all}
	for i := range 9 {
		v.events = append(v.events, note(now, fmt.Sprint("noted ", i)))
	}
	require.Equal(t, `
upbeat monitor   localhost:6379   00:03:55   1 missing, 1 dead, 1 stuck, 1 stale, 1 alive, 1 stopped   q or ^C ends it
MISSING: billing
   SERVICE  INSTANCE          LAST BEAT    AGE  UPTIME  BEATS    MEMORY    CPU  STATE    DATA
✗  billing  -                 -              -       -      -         -      -  missing
✗  dead     a1b2c3d4          00:00:00   3m55s    0.0s      1  156.3 MB  12.5%  dead
■  漢字     …nt-7f9c6d-abcde  00:03:40     15s    0.0s      1  156.3 MB  12.5%  stuck    stuck(fetch 3m00s)  pending_requests=17
◐  stale    worker-1          00:02:00   1m55s    0.0s      1  156.3 MB  12.5%  stale    cache_size=5
  … and 2 more: 1 alive, 1 stopped
`, "\n"+plain(v.lines(140, 9)))
	require.Len(t, v.lines(140, 13), 13)
	require.Contains(t, plain(v.lines(140, 13)), "\n\n00:03:55 ! noted 6\n00:03:55 ! noted 7\n00:03:55 ! noted 8\n", "the newest events, below a table that fits")
	require.NotContains(t, plain(v.lines(140, 13)), "noted 5")
}

func TestView_HeaderSaysWhatCantBeTrusted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 16, 8, 30, 15, 0, time.UTC)
	blind := heartbeat.Event{Kind: heartbeat.EventBlind, At: at, Why: "redis is lost: EOF"}
	for name, tc := range map[string]struct {
		view view
		want string
	}{
		"all is well":    {view{}, ""},
		"just started":   {view{stats: heartbeat.MonitorStats{Blind: true}}, "NOT LISTENING YET: nothing can be said of anybody\n"},
		"blind":          {view{stats: heartbeat.MonitorStats{Blind: true}, blind: blind}, "BLIND since 08:30:15, no verdicts until it hears again: redis is lost: EOF\n"},
		"no longer":      {view{blind: blind}, ""},
		"mass silence":   {view{stats: heartbeat.MonitorStats{Held: true}, held: heartbeat.Event{At: at, Why: "5 of 6 are silent"}}, "MASS SILENCE since 08:30:15: 5 of 6 are silent\n"},
		"bad messages":   {view{stats: heartbeat.MonitorStats{Bad: 3, LastBad: "not a beat"}}, "3 messages could not be read, the last: not a beat\n"},
		"too many":       {view{stats: heartbeat.MonitorStats{Refused: 2}}, "2 beats of instances for which there is no room\n"},
		"several absent": {view{items: []item{{state: missing, Instance: heartbeat.Instance{Service: "a"}}, {state: missing, Instance: heartbeat.Instance{Service: "b"}}}}, "MISSING: a, b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, plain(tc.view.header()[1:]))
		})
	}
}

func TestView_FitsEveryTerminal(t *testing.T) {
	t.Parallel()
	all, now := fleet(t)
	for n := range 40 {
		v := view{now: now, items: all[:min(n, len(all))], stats: heartbeat.MonitorStats{Blind: true, Held: true, Bad: 1}}
		for range n {
			v.events = append(v.events, note(now, "noted"))
		}
		for rows := range 30 {
			require.LessOrEqual(t, len(v.lines(80, rows)), rows)
		}
	}
}

func TestTell(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 16, 8, 30, 15, 0, time.UTC)
	for want, e := range map[string]heartbeat.Event{
		"08:30:15 ✗ dead      geo/1 last beat 3m ago":                                {Kind: heartbeat.EventDead, State: heartbeat.Dead, Service: "geo", Instance: "1", Why: "last beat 3m ago"},
		"08:30:15 ✗ missing   geo not heard":                                         {Kind: heartbeat.EventMissing, Service: "geo", Why: "not heard"},
		"08:30:15 ? blind     lost?":                                                 {Kind: heartbeat.EventBlind, Why: "lost\x1b"},
		"08:30:15 ● sighted   back (7 events before this one were too many to show)": {Kind: heartbeat.EventSighted, Why: "back", Dropped: 7},
	} {
		e.At = at
		require.Equal(t, want, tell(e, e.Service, e.Instance).text)
	}
}
