package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// span is a clean text at a place of its line, from 0, with the code of its colour.
type span struct {
	start int
	text  string
	style string
}

// line is spans from left to right.
type line []span

// plain is the line for what is no terminal.
func (l line) plain() string {
	var b strings.Builder
	at := 0
	for _, s := range l {
		b.WriteString(strings.Repeat(" ", max(s.start-at, 0)))
		b.WriteString(s.text)
		at = max(at, s.start) + columns(s.text)
	}
	return strings.TrimRight(b.String(), " ")
}

// screen is the terminal, taken over until close.
type screen struct {
	out    *os.File
	colour bool
	undo   func()
	once   sync.Once
}

// Turn to the alternate screen, without a cursor and without wrapping: a character that is wider for the terminal than for
// this program shall not move the lines below. And back.
const (
	takeOver = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	giveBack = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// openScreen takes over the terminal. Nothing that is typed is shown; quit is called for q and ^C, which is no signal then.
func openScreen(in, out *os.File, colour bool, quit func()) *screen {
	s := &screen{out: out, colour: colour, undo: func() {}}
	if before, err := term.MakeRaw(int(in.Fd())); err == nil { // else it is no terminal, and ^C is a signal
		s.undo = func() { _ = term.Restore(int(in.Fd()), before) }
		go s.keys(in, quit)
	}
	_, _ = io.WriteString(out, takeOver)
	return s
}

// keys reads what is typed, until the end of the process. Who asks twice to quit does not wait for anything.
func (s *screen) keys(in io.Reader, quit func()) {
	const ctrlC, ctrlD = 3, 4
	typed := make([]byte, 64)
	for asked := false; ; {
		n, err := in.Read(typed)
		if err != nil {
			return
		}
		for _, key := range typed[:n] {
			switch {
			case key != 'q' && key != ctrlC && key != ctrlD:
			case asked:
				s.close()
				os.Exit(1)
			default:
				asked = true
				quit()
			}
		}
	}
}

func (s *screen) close() {
	s.once.Do(func() {
		s.undo()
		_, _ = io.WriteString(s.out, giveBack)
	})
}

func (s *screen) size() (columns, rows int) {
	if w, h, err := term.GetSize(int(s.out.Fd())); err == nil && w > 0 && h > 0 {
		return w, h
	}
	return 80, 24
}

func (s *screen) draw(lines []line, columns, rows int) error {
	_, err := io.WriteString(s.out, frame(lines, columns, rows, s.colour))
	return err
}

// frame is the whole screen in one piece, which a terminal that knows how shows at once. Each span is put at its
// column, so that none stands askew for a character before it whose width is in dispute.
func frame(lines []line, columns, rows int, colour bool) string {
	var b strings.Builder
	b.WriteString("\x1b[?2026h")
	for y := range rows {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[2K", y+1)
		if y >= len(lines) {
			continue
		}
		for _, s := range lines[y] {
			text := cut(s.text, columns-s.start)
			if text == "" {
				continue
			}
			fmt.Fprintf(&b, "\x1b[%dG", s.start+1)
			if colour {
				text = "\x1b[" + s.style + "m" + text + "\x1b[0m"
			}
			b.WriteString(text)
		}
	}
	b.WriteString("\x1b[?2026l")
	return b.String()
}
