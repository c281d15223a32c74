package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func TestFrame_EveryRowAnewAndEverySpanAtItsColumn(t *testing.T) {
	t.Parallel()
	lines := []line{{{0, "漢字", "32"}, {6, "x", "1"}}, nil, {{2, "too long for this", "0"}, {60, "beyond", "0"}}}
	require.Equal(t, "\x1b[?2026h"+
		"\x1b[1;1H\x1b[2K\x1b[1G漢字\x1b[7Gx"+
		"\x1b[2;1H\x1b[2K"+
		"\x1b[3;1H\x1b[2K\x1b[3Gtoo lon…"+
		"\x1b[4;1H\x1b[2K"+
		"\x1b[?2026l", frame(lines, 10, 4, false))
	require.Contains(t, frame(lines, 10, 4, true), "\x1b[1G\x1b[32m漢字\x1b[0m\x1b[7G\x1b[1mx\x1b[0m")
	require.NotContains(t, frame(lines, 10, 1, true), "too", "no more rows than there are")
}

// A pipe stands for the terminal: it has no size, and nothing is typed.
func TestScreen_GivesBackWhatItTook(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
	require.NoError(t, err)
	require.NoError(t, mon.Observe([]byte(`{"service_name":"geocoding","instance_id":"i","z":"\u001b[2J"}`), 0))

	ctx, quit := context.WithCancel(t.Context())
	l := &live{mon: mon, redis: "localhost:6379"}
	result := make(chan error, 1)
	s := openScreen(r, w, true, quit)
	go func() {
		_, err := l.show(ctx, s)
		s.close()
		s.close()
		result <- err
		_ = w.Close()
	}()
	read := make([]byte, 1<<16)
	seen := ""
	for !strings.Contains(seen, "geocoding") {
		n, err := r.Read(read)
		require.NoError(t, err)
		seen += string(read[:n])
	}
	l.hear(heartbeat.Event{Kind: heartbeat.EventDead, At: time.Now(), Why: "silent"})
	for !strings.Contains(seen, "silent") {
		n, err := r.Read(read)
		require.NoError(t, err)
		seen += string(read[:n])
	}
	quit()
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, <-result)
	seen += string(rest)
	require.True(t, strings.HasPrefix(seen, takeOver))
	require.True(t, strings.HasSuffix(seen, giveBack))
	require.Equal(t, 1, strings.Count(seen, giveBack))
	known := regexp.MustCompile(`\x1b\[(\?(1049|25|7|2026)[hl]|\d+;1H|2K|\d+G|[\d;]+m)`)
	require.NotContains(t, known.ReplaceAllString(seen, ""), "\x1b", "nothing but its own")
	require.NotContains(t, seen, "\x1b[2J")
}

func TestLive_ViewFollowsTheMonitor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{Expect: []string{"billing"}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ctx, quit := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- mon.Run(ctx) }()
		l := &live{mon: mon, expect: []string{"billing"}}
		<-time.After(time.Minute)
		require.Equal(t, awaited, l.view().items[0].state)
		<-time.After(3 * time.Minute)
		require.Equal(t, missing, l.view().items[0].state)

		require.False(t, l.hasNews())
		blind := heartbeat.Event{Kind: heartbeat.EventBlind, At: time.Now(), Why: "redis is lost"}
		held := heartbeat.Event{Kind: heartbeat.EventMassSilence, At: time.Now(), Why: "5 of 6"}
		l.hear(blind)
		l.hear(held)
		require.True(t, l.hasNews())
		v := l.view()
		require.Equal(t, []heartbeat.Event{blind, held}, []heartbeat.Event{v.blind, v.held})
		require.Len(t, v.events, 2)
		quit()
		require.NoError(t, <-ended)
	})
}

func TestNotes_TellWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	var got []string
	log := slog.New(notes{func(text string) { got = append(got, text) }})
	log.Warn("heartbeat: monitor", "event", "blind", "why", "lost") // comes as an event, too
	log.Info("too little to tell")
	log.Warn("the retained beats can't be read", "err", errors.New("NOPERM"))
	require.Equal(t, []string{"the retained beats can't be read: NOPERM"}, got)
}

func TestLive_KeepsTheNewestEvents(t *testing.T) {
	t.Parallel()
	l := &live{}
	for range 5 * eventsKept {
		l.add(told{text: "old"})
	}
	l.add(told{text: "new"})
	require.LessOrEqual(t, len(l.events), 2*eventsKept)
	require.Equal(t, "new", l.events[len(l.events)-1].text)
}
