package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// What comes from Redis may have been published by anybody. All of it goes through clean, value or escaped before it
// is shown: nothing that steers a terminal, hides text or turns its direction gets through.

// marksKept is how many combining marks stay on one character; there are languages that need two.
const marksKept = 2

// clean replaces what can't be printed, and takes off combining marks that are piled up.
func clean(s string) string {
	marks := 0
	return strings.Map(func(r rune) rune {
		switch {
		case !unicode.IsPrint(r):
			return '?'
		case !isMark(r):
			marks = 0
		default:
			if marks++; marks > marksKept {
				return -1
			}
		}
		return r
	}, s)
}

// escaped is clean for JSON, where what can't be printed has an escape of its own. It can only be within strings.
func escaped(line []byte) string {
	var b strings.Builder
	for _, r := range string(line) {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// valueRead bounds the work for one value, and valueShown is how many columns it may take.
const valueRead, valueShown = 2048, 48

// value shows the JSON of a field in one line: a plain word as it is, any other string in quotes.
func value(raw json.RawMessage) string {
	if len(raw) > valueRead {
		return cut(clean(strings.ToValidUTF8(string(raw[:valueRead]), "")), valueShown)
	}
	var word string
	if json.Unmarshal(raw, &word) == nil && len(raw) > 0 && raw[0] == '"' {
		return cut(clean(quoted(word)), valueShown)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return "?"
	}
	return cut(clean(compact.String()), valueShown)
}

// quoted puts a string in quotes unless it is a plain word: it must not pass for more than one field.
func quoted(s string) string {
	special := func(r rune) bool { return r == ' ' || r == '=' || r == '"' || !unicode.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, special) {
		return strconv.Quote(s)
	}
	return s
}

func isMark(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me) }

// columns is how many columns of a terminal a clean text takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case isMark(r):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// cut returns what fits of a clean text, with an ellipsis in place of the rest.
func cut(s string, room int) string {
	if columns(s) <= room {
		return s
	}
	if room <= 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > room-1 {
			return s[:i] + "…"
		}
	}
	return s // not reached
}

// short is a duration in at most two units, for people.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d < 1000*24*time.Hour:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	default:
		return ">999d"
	}
}

// number is a figure with a unit. One that no machine has takes no more room: it would take it from everybody's table.
func number(x float64, unit string) string {
	switch {
	case x > 1e7:
		return ">9999999" + unit
	case x < 0:
		return "<0" + unit
	default:
		return fmt.Sprintf("%.1f%s", x, unit)
	}
}

// count is number for what is counted.
func count(n uint64) string {
	if n > 1e9 {
		return ">1e9"
	}
	return fmt.Sprint(n)
}

// shortName is the name of a service in few columns.
func shortName(service string) string { return cut(clean(service), 24) }

// shortID is the name of an instance in few columns: the begin of a UUID, and the end of any other long name, where
// those of one service differ.
func shortID(id string) string {
	const most = 16
	id = clean(id)
	if len(id) == 36 && strings.Count(id, "-") == 4 {
		return id[:8]
	}
	for rest := id; columns(id) > most; {
		_, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		if columns(rest) < most {
			return "…" + rest
		}
	}
	return id
}
