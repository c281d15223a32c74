package rules

import "github.com/upbeat-go/upbeat/store"

type jsonVerdict int

const (
	jsonValid jsonVerdict = iota
	jsonInvalid
	jsonTooDeep
)

// checkJSON judges a payload of valid UTF-8 as json.Valid does, which takes several times as long: and every message is checked.
func checkJSON(p []byte) jsonVerdict {
	var objects [store.MaxPayloadDepth]bool // what is open at each depth: an object, or else an array
	depth := 0
	for i := 0; ; { // a value is to come at i
		if i = skipSpace(p, i); i == len(p) {
			return jsonInvalid
		}
		if c := p[i]; c == '{' || c == '[' {
			if depth == len(objects) {
				return jsonTooDeep
			}
			objects[depth] = c == '{'
			depth++
			if i = skipSpace(p, i+1); i == len(p) || p[i] != c+2 { // } or ]
				if c == '{' {
					i = skipName(p, i)
				}
				if i < 0 {
					return jsonInvalid
				}
				continue
			}
		} else if i = skipScalar(p, i); i < 0 {
			return jsonInvalid
		}
		for next := false; !next; { // behind a value, or at the end of an empty object or array
			i = skipSpace(p, i)
			if depth == 0 && i == len(p) {
				return jsonValid
			}
			if depth == 0 || i == len(p) {
				return jsonInvalid
			}
			object := objects[depth-1]
			switch c := p[i]; {
			case c == ',':
				i, next = i+1, true
				if object {
					i = skipName(p, skipSpace(p, i))
				}
				if i < 0 {
					return jsonInvalid
				}
			case c == '}' && object, c == ']' && !object:
				i++
				depth--
			default:
				return jsonInvalid
			}
		}
	}
}

// The functions that follow return the place behind what starts at i, or -1 if that is no such thing.

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// skipName skips the name of a member and its colon.
func skipName(p []byte, i int) int {
	if i == len(p) || p[i] != '"' {
		return -1
	}
	if i = skipString(p, i); i < 0 {
		return -1
	}
	if i = skipSpace(p, i); i == len(p) || p[i] != ':' {
		return -1
	}
	return i + 1
}

// skipScalar skips anything but an object or an array.
func skipScalar(p []byte, i int) int {
	switch p[i] {
	case '"':
		return skipString(p, i)
	case 't':
		return skipWord(p, i, "true")
	case 'f':
		return skipWord(p, i, "false")
	case 'n':
		return skipWord(p, i, "null")
	}
	return skipNumber(p, i)
}

func skipWord(p []byte, i int, word string) int {
	if end := i + len(word); end <= len(p) && string(p[i:end]) == word {
		return end
	}
	return -1
}

// plain are the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

func skipString(p []byte, i int) int {
	for i++; i < len(p); {
		switch c := p[i]; {
		case plain[c]:
			i++
		case c == '"':
			return i + 1
		case c != '\\' || i+1 == len(p):
			return -1
		default:
			switch p[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(p) || !hex(p[i+2]) || !hex(p[i+3]) || !hex(p[i+4]) || !hex(p[i+5]) {
					return -1
				}
				i += 6
			default:
				return -1
			}
		}
	}
	return -1
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func skipNumber(p []byte, i int) int {
	if p[i] == '-' {
		i++
	}
	switch {
	case i < len(p) && p[i] == '0':
		i++
	default:
		if i = skipDigits(p, i); i < 0 {
			return -1
		}
	}
	if i < len(p) && p[i] == '.' {
		if i = skipDigits(p, i+1); i < 0 {
			return -1
		}
	}
	if i < len(p) && (p[i] == 'e' || p[i] == 'E') {
		i++
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		return skipDigits(p, i)
	}
	return i
}

// skipDigits skips one or more.
func skipDigits(p []byte, i int) int {
	start := i
	for i < len(p) && p[i] >= '0' && p[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}
