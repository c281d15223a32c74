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
	depth, i := 0, 0
value:
	i = skipSpace(p, i)
	if i == len(p) {
		return jsonInvalid
	}
	switch c := p[i]; c {
	case '{', '[':
		if depth == store.MaxPayloadDepth {
			return jsonTooDeep
		}
		objects[depth] = c == '{'
		depth++
		i = skipSpace(p, i+1)
		if i < len(p) && p[i] == c+2 { // } or ]: it is empty
			i++
			depth--
			break
		}
		if c == '{' {
			goto name
		}
		goto value
	case '"':
		i = skipString(p, i)
	case 't':
		i = skipWord(p, i, "true")
	case 'f':
		i = skipWord(p, i, "false")
	case 'n':
		i = skipWord(p, i, "null")
	default:
		i = skipNumber(p, i)
	}
	if i < 0 {
		return jsonInvalid
	}
	for {
		i = skipSpace(p, i)
		if depth == 0 {
			if i < len(p) {
				return jsonInvalid
			}
			return jsonValid
		}
		if i == len(p) {
			return jsonInvalid
		}
		object := objects[depth-1]
		switch {
		case p[i] == ',' && object:
			i = skipSpace(p, i+1)
			goto name
		case p[i] == ',':
			i++
			goto value
		case p[i] == '}' && object, p[i] == ']' && !object:
			i++
			depth--
		default:
			return jsonInvalid
		}
	}
name:
	if i == len(p) || p[i] != '"' {
		return jsonInvalid
	}
	if i = skipString(p, i); i < 0 {
		return jsonInvalid
	}
	if i = skipSpace(p, i); i == len(p) || p[i] != ':' {
		return jsonInvalid
	}
	i++
	goto value
}

// The functions that follow return the place behind what starts at i, or -1 if that is no such thing.

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
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
