package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen shows the table of services and what happens beside it: redrawn in
// place on a terminal, as plain lines elsewhere.
type screen struct {
	out   io.Writer
	width func() int // 0: no terminal

	mu     sync.Mutex // guards everything below, and the order of writes to out
	events []string   // the newest ones, shown below the table on a terminal
	drawn  int        // lines to go back before the next drawing
}

const eventsShown = 6

// newScreen writes to out and redraws where out is a terminal.
func newScreen(out *os.File) *screen {
	fd := int(out.Fd())
	s := &screen{out: out, width: func() int { return 0 }}
	if term.IsTerminal(fd) {
		s.width = func() int {
			if w, _, err := term.GetSize(fd); err == nil && w > 0 {
				return w
			}
			return 80
		}
	}
	return s
}

func (s *screen) redraws() bool { return s.width() > 0 }

// event reports one thing that happened.
func (s *screen) event(format string, args ...any) {
	line := time.Now().Format("15:04:05 ") + printable(fmt.Sprintf(format, args...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.width() == 0 {
		fmt.Fprintln(s.out, line)
		return
	}
	s.events = append(s.events, line)
	s.events = s.events[max(0, len(s.events)-eventsShown):]
}

// row is one line of the table; state picks its colour.
type row struct {
	cells []string
	state string
}

var stateColour = map[string]string{
	"alive": "32", "stale": "33", "dead": "31", "stopped": "2", "": "1",
}

// table shows the rows, the first of which are the headings. The title is for
// terminals only, where it is redrawn with the rest.
func (s *screen) table(title string, rows []row) {
	lines := align(rows)
	s.mu.Lock()
	defer s.mu.Unlock()
	width := s.width()
	if width == 0 {
		fmt.Fprintln(s.out, strings.Join(lines, "\n"))
		return
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", s.drawn) // the echo of ^C may have moved the cursor
	}
	s.drawn = 0
	// Each line is cleared and cut: one that wraps would shift all below it.
	line := func(text, code string) {
		fmt.Fprintf(&b, "\x1b[2K\x1b[%sm%s\x1b[0m\n", code, cut(printable(text), width-1))
		s.drawn++
	}
	line(title, "1")
	line("", "0")
	for i, text := range lines {
		line(text, stateColour[rows[i].state])
	}
	line("", "0")
	for _, event := range s.events {
		line(event, "0")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(s.out, b.String())
}

// align pads every column to its widest cell: text to the left, numbers to the right.
func align(rows []row) []string {
	var widths []int
	for _, r := range rows {
		for i, cell := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, r := range rows {
		cells := make([]string, len(r.cells))
		for i, cell := range r.cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < textColumns {
				cells[i] = cell + pad
			} else {
				cells[i] = pad + cell
			}
		}
		lines = append(lines, strings.TrimRight(strings.Join(cells, "  "), " "))
	}
	return lines
}

// textColumns is how many columns, from the left, hold text.
const textColumns = 3

func cut(line string, width int) string {
	runes := []rune(line)
	return string(runes[:min(len(runes), max(width, 0))])
}

// printable drops what could steer a terminal: a log line may carry anything.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, s)
}

// Write takes log lines, from this process or from a worker, as events.
func (s *screen) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			s.event("%s", line)
		}
	}
	return len(p), nil
}
