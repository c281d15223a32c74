package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

const (
	frameEvery = time.Second            // for the ages
	frameLeast = 200 * time.Millisecond // when something has happened, or the size of the terminal has changed
	// frameShare is how many times longer than making a frame takes the next one is waited for: however large the fleet,
	// the drawing takes a small part of the processor.
	frameShare = 10
	eventsKept = 500
)

// live is the table on a terminal and what feeds it.
type live struct {
	mon    *heartbeat.Monitor
	redis  string
	expect []string

	mu          sync.Mutex
	events      []told          // guarded by mu, and so is all below
	blind, held heartbeat.Event // the newest of their kind
	news        bool            // since the last frame
}

// hear takes in an event.
func (l *live) hear(e heartbeat.Event) {
	l.add(tell(e, shortName(e.Service), shortID(e.Instance)))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case heartbeat.EventBlind:
		l.blind = e
	case heartbeat.EventMassSilence:
		l.held = e
	}
}

func (l *live) add(t told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news = true
	if l.events = append(l.events, t); len(l.events) >= 2*eventsKept {
		l.events = append([]told(nil), l.events[eventsKept:]...)
	}
}

func (l *live) view() view {
	gone := map[string]bool{}
	for _, service := range l.mon.Missing() {
		gone[service] = true
	}
	absent := func(service string) string {
		if gone[service] {
			return missing
		}
		return awaited
	}
	v := view{redis: l.redis, now: time.Now(), items: items(l.mon, l.expect, absent), stats: l.mon.Stats()}
	l.mu.Lock()
	defer l.mu.Unlock()
	v.events, v.blind, v.held = slices.Clip(l.events), l.blind, l.held
	l.news = false
	return v
}

func (l *live) hasNews() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// show draws until ctx ends, and returns the last frame.
func (l *live) show(ctx context.Context, s *screen) (last []line, err error) {
	tick := time.NewTicker(frameLeast)
	defer tick.Stop()
	var due, soonest time.Time
	wide, high := 0, 0
	for {
		columns, rows := s.size()
		now := time.Now()
		if resized := columns != wide || rows != high; now.After(soonest) && (resized || l.hasNews() || now.After(due)) {
			wide, high = columns, rows
			last = l.view().lines(columns, rows)
			if err := s.draw(last, columns, rows); err != nil {
				return last, err
			}
			due, soonest = now.Add(frameEvery), time.Now().Add(frameShare*time.Since(now))
		}
		select {
		case <-ctx.Done():
			return last, nil
		case <-tick.C:
		}
	}
}

// notes is a log that becomes notes on the screen.
type notes struct{ add func(text string) }

func (notes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (n notes) WithAttrs([]slog.Attr) slog.Handler             { return n }
func (n notes) WithGroup(string) slog.Handler                  { return n }

func (n notes) Handle(_ context.Context, r slog.Record) error {
	text, event := []string{r.Message}, false
	r.Attrs(func(a slog.Attr) bool {
		event = event || a.Key == "event"
		text = append(text, a.Value.String())
		return true
	})
	if !event { // those come by Monitor.Events
		n.add(strings.Join(text, ": "))
	}
	return nil
}
