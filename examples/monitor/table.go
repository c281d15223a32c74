package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// item is a line of the table: an instance, or an expected service without any.
type item struct {
	heartbeat.Instance
	state string
}

const (
	missing = "missing" // expected, and was not heard for long enough to say so
	awaited = "awaited" // expected, and not heard yet
)

// looks are the icon and the colour of each state, in the order of how much they matter.
var looks = []struct{ state, icon, colour string }{
	{missing, "✗", "31"},
	{"dead", "✗", "31"},
	{"stuck", "■", "35"},
	{"stale", "◐", "33"},
	{"unknown", "?", "36"},
	{awaited, "?", "36"},
	{"alive", "●", "32"},
	{"stopped", "○", "2"},
}

func rank(state string) int {
	for i, look := range looks {
		if look.state == state {
			return i
		}
	}
	return len(looks)
}

func icon(state string) string {
	if i := rank(state); i < len(looks) {
		return looks[i].icon
	}
	return "·"
}

func colour(state string) string {
	if i := rank(state); i < len(looks) {
		return looks[i].colour
	}
	return "0"
}

// items lists what there is to show, sorted by service. absent says what to call that an expected service has no instance.
func items(mon *heartbeat.Monitor, expect []string, absent func(service string) string) []item {
	var all []item
	there := map[string]bool{}
	for inst := range mon.Instances() {
		there[inst.Service] = true
		all = append(all, item{inst, inst.State.String()})
	}
	for _, service := range expect {
		if !there[service] {
			all = append(all, item{heartbeat.Instance{Service: service}, absent(service)})
		}
	}
	slices.SortStableFunc(all, func(a, b item) int { return strings.Compare(a.Service, b.Service) })
	return all
}

// summary counts items by state, the worst first.
func summary(all []item) string {
	counts := map[string]int{}
	for _, it := range all {
		counts[it.state]++
	}
	states := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return rank(a) - rank(b) })
	parts := make([]string, len(states))
	for i, state := range states {
		parts[i] = fmt.Sprintf("%d %s", counts[state], state)
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing heard yet")
}

// column is one of the table. Where the terminal is too narrow those with the highest drop go first; 0 stays.
type column struct {
	head  string
	right bool
	drop  int
	cell  func(it item, now time.Time) string
}

var tableColumns = []column{
	{"", false, 0, func(it item, _ time.Time) string { return icon(it.state) }},
	{"SERVICE", false, 0, func(it item, _ time.Time) string { return shortName(it.Service) }},
	{"INSTANCE", false, 0, func(it item, _ time.Time) string { return cmp.Or(shortID(it.ID), "-") }},
	{"LAST BEAT", false, 5, beaten(func(it item, now time.Time) string { return now.Add(-it.Age).Format("15:04:05") })},
	{"AGE", true, 0, beaten(func(it item, _ time.Time) string { return short(it.Age) })},
	{"UPTIME", true, 1, beaten(func(it item, _ time.Time) string { return short(it.Uptime) })},
	{"BEATS", true, 2, beaten(func(it item, _ time.Time) string { return count(it.Count) })},
	{"MEMORY", true, 4, beaten(func(it item, _ time.Time) string { return number(it.Beat.MemoryMB, " MB") })},
	{"CPU", true, 3, beaten(func(it item, _ time.Time) string { return number(it.Beat.CPUPercent, "%") })},
	{"STATE", false, 0, func(it item, _ time.Time) string { return it.state }},
}

// beaten is a cell of what has beaten at all.
func beaten(cell func(item, time.Time) string) func(item, time.Time) string {
	return func(it item, now time.Time) string {
		if it.ID == "" {
			return "-"
		}
		return cell(it, now)
	}
}

const gap, dataRoom = 2, 30 // columns between two, and how many are to be left for the data beside the rest

// table lays out the items for a terminal of that many columns; the first line are the headings. What a service says
// of itself stands beside the rest, or below it where there is no room. tall is how many lines an item takes at most.
func table(all []item, room int, now time.Time) (head line, rows [][]line, tall int) {
	cells := make([][]string, len(tableColumns))
	widths := make([]int, len(tableColumns))
	for c, col := range tableColumns {
		widths[c] = columns(col.head)
		for _, it := range all {
			cell := col.cell(it, now)
			cells[c] = append(cells[c], cell)
			widths[c] = max(widths[c], columns(cell))
		}
	}
	starts, end := place(widths, room)
	beside := room-end >= dataRoom
	dataStart, tall := end, 1
	if !beside {
		dataStart, tall = 2*gap, 2
	}
	for c, col := range tableColumns {
		if starts[c] >= 0 {
			head = append(head, align(col, col.head, starts[c], widths[c], "1"))
		}
	}
	if beside {
		head = append(head, span{end, "DATA", "1"})
	}
	for i, it := range all {
		var row line
		for c, col := range tableColumns {
			if starts[c] >= 0 {
				row = append(row, align(col, cells[c][i], starts[c], widths[c], colour(it.state)))
			}
		}
		lines := []line{row}
		switch text := data(it, room-dataStart); {
		case text == "":
		case beside:
			lines[0] = append(lines[0], span{dataStart, text, "0"})
		default:
			lines = append(lines, line{{dataStart, text, "0"}})
		}
		rows = append(rows, lines)
	}
	return head, rows, tall
}

// place returns where each column starts, -1 for one that is dropped for want of room, and where they end.
func place(widths []int, room int) (starts []int, end int) {
	for dropped := len(widths); ; dropped-- {
		starts, end = nil, 0
		for c, col := range tableColumns {
			if col.drop >= dropped && col.drop > 0 {
				starts = append(starts, -1)
				continue
			}
			starts = append(starts, end)
			end += widths[c] + gap
		}
		if end-gap <= room || dropped == 0 {
			return starts, end
		}
	}
}

func align(col column, text string, start, width int, style string) span {
	if col.right {
		start += width - columns(text)
	}
	return span{start, text, style}
}

// data is what a service says of itself, and what is odd about it, in at most that many columns.
func data(it item, room int) string {
	var parts []string
	taken := 0
	add := func(text string) bool {
		parts = append(parts, text)
		taken += columns(text) + gap
		return taken < room
	}
	if it.Beat.Phase == heartbeat.PhaseDraining {
		add("draining")
	}
	if it.Flapping {
		add("flapping")
	}
	for _, loop := range slices.Sorted(maps.Keys(it.Beat.Stuck)) {
		add(fmt.Sprintf("stuck(%s %s)", clean(quoted(loop)), short(it.Beat.Stuck[loop])))
	}
	for name, raw := range it.Beat.Fields() {
		if !add(clean(quoted(name)) + "=" + value(raw)) {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(it.Beat.CollectorErrors)) {
		add(fmt.Sprintf("failed(%s: %s)", clean(quoted(name)), clean(it.Beat.CollectorErrors[name])))
	}
	return cut(strings.Join(parts, strings.Repeat(" ", gap)), room)
}
