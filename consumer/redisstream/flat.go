package redisstream

import (
	"iter"
	"strconv"
)

const crlf = "\r\n"

// flat are the names and values of an entry in turn, each as Redis sends it: "$", its length, CRLF, its bytes, CRLF. A nil flat has none.
type flat []byte

// next splits the first string off.
func (f flat) next() (s []byte, rest flat, ok bool) {
	for i, b := range f {
		if b != '\r' {
			continue
		}
		n, _ := size(f[1:i])
		begin := i + len(crlf)
		return f[begin : begin+n : begin+n], f[begin+n+len(crlf):], true
	}
	return nil, nil, false
}

// all yields names and values.
func (f flat) all() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for name, rest, ok := f.next(); ok; name, rest, ok = rest.next() {
			var value []byte
			if value, rest, ok = rest.next(); !ok || !yield(string(name), value) {
				return
			}
		}
	}
}

// len is how many names and values there are.
func (f flat) len() (n int) {
	for _, rest, ok := f.next(); ok; _, rest, ok = rest.next() {
		n++
	}
	return n
}

// get returns the last value of that name, as go-redis does.
func (f flat) get(wanted string) (value []byte) {
	for name, rest, ok := f.next(); ok; name, rest, ok = rest.next() {
		var v []byte
		if v, rest, _ = rest.next(); string(name) == wanted {
			value = v
		}
	}
	return value
}

func appendBulk(to []byte, s string) []byte {
	return append(append(appendSize(to, len(s)), s...), crlf...)
}

func appendSize(to []byte, n int) []byte {
	return append(strconv.AppendInt(append(to, '$'), int64(n), 10), crlf...)
}

// size reads a number of up to nine digits; -1 is that of what isn't there.
func size(digits []byte) (n int, ok bool) {
	if string(digits) == "-1" {
		return -1, true
	}
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int(d-'0')
	}
	return n, true
}
