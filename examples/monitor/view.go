package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// view is all that one frame shows.
type view struct {
	redis  string // where it is, for people
	now    time.Time
	items  []item
	stats  heartbeat.MonitorStats
	events []told // oldest first

	blind, held heartbeat.Event // the newest of their kind
}

// told is an event, or a note of this program, as one line.
type told struct {
	text, colour string
}

const headColour, alarmColour, noteColour = "1", "1;31", "33"

// lines is the frame: what is to be known first, the table, and below it the newest events.
func (v view) lines(columns, rows int) []line {
	lines := v.header()
	head, body := v.body(columns, rows-len(lines)-1)
	lines = append(append(lines, head), body...)
	room := rows - len(lines) - 1
	if room <= 0 || len(v.events) == 0 {
		return lines[:min(len(lines), max(rows, 0))]
	}
	lines = append(lines, nil)
	for _, e := range v.events[max(len(v.events)-room, 0):] {
		lines = append(lines, line{{0, e.text, e.colour}})
	}
	return lines
}

// header says who is there, and what the table below can't be trusted for.
func (v view) header() []line {
	lines := []line{{{0, fmt.Sprintf("upbeat monitor   %s   %s   %s   q or ^C ends it",
		clean(v.redis), v.now.Format(time.TimeOnly), summary(v.items)), headColour}}}
	say := func(colour, format string, args ...any) {
		lines = append(lines, line{{0, clean(fmt.Sprintf(format, args...)), colour}})
	}
	switch {
	case !v.stats.Blind:
	case v.blind.At.IsZero():
		say(noteColour, "NOT LISTENING YET: nothing can be said of anybody")
	default:
		say(alarmColour, "BLIND since %s, no verdicts until it hears again: %s", v.blind.At.Format(time.TimeOnly), v.blind.Why)
	}
	if v.stats.Held {
		say(alarmColour, "MASS SILENCE since %s: %s", v.held.At.Format(time.TimeOnly), v.held.Why)
	}
	var gone []string
	for _, it := range v.items {
		if it.state == missing {
			gone = append(gone, it.Service)
		}
	}
	if len(gone) > 0 {
		say(alarmColour, "MISSING: %s", strings.Join(gone, ", "))
	}
	if v.stats.Bad > 0 {
		say(noteColour, "%d messages could not be read, the last: %s", v.stats.Bad, v.stats.LastBad)
	}
	if v.stats.Refused > 0 {
		say(noteColour, "%d beats of instances for which there is no room", v.stats.Refused)
	}
	return lines
}

// body is the table in that many lines at most. The events get a quarter of them, as far as there are any; of more
// instances than fit those in the worst state are shown.
func (v view) body(columns, rows int) (head line, body []line) {
	rows = max(rows-min(len(v.events)+1, rows/4), 0)
	all, left := v.items, ""
	head, shown, tall := table(all[:min(len(all), rows)], columns, v.now)
	if len(all)*tall > rows {
		all = slices.Clone(all)
		slices.SortStableFunc(all, func(a, b item) int { return rank(a.state) - rank(b.state) })
		fit := max(rows-1, 0) / tall
		left = fmt.Sprintf("… and %d more: %s", len(all)-fit, summary(all[fit:]))
		head, shown, _ = table(all[:fit], columns, v.now)
	}
	for _, lines := range shown {
		body = append(body, lines...)
	}
	if left != "" && rows > 0 {
		body = append(body, line{{2, left, "2"}})
	}
	return head, body
}

// tell is the line for an event, with names as they are given.
func tell(e heartbeat.Event, service, instance string) told {
	state := e.State.String()
	switch e.Kind {
	case heartbeat.EventMissing:
		state = missing
	case heartbeat.EventBlind, heartbeat.EventMassSilence:
		state = "unknown"
	case heartbeat.EventSighted, heartbeat.EventMassOver:
		state = "alive"
	}
	who := ""
	switch {
	case instance != "":
		who = service + "/" + instance + " "
	case service != "":
		who = service + " "
	}
	text := fmt.Sprintf("%s %s %-9s %s%s", e.At.Format(time.TimeOnly), icon(state), e.Kind, who, clean(e.Why))
	if e.Dropped > 0 {
		text += fmt.Sprintf(" (%d events before this one were too many to show)", e.Dropped)
	}
	return told{text, colour(state)}
}

// note is the line for what this program itself has to say.
func note(at time.Time, text string) told {
	return told{fmt.Sprintf("%s ! %s", at.Format(time.TimeOnly), clean(text)), noteColour}
}
