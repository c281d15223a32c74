package redissub

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
)

const (
	readBuffer = 16 << 10
	maxParts   = 8       // of one reply; pub/sub has four at most
	maxBulk    = 1 << 29 // what a Redis string can hold
	keepArena  = 64 << 10
)

// decoder reads the replies that a subscribed connection can get, of RESP2 and RESP3: single values, and flat arrays or pushes of them.
// It holds no more than limit bytes of one reply, whatever the other side sends.
type decoder struct {
	src   *bufio.Reader
	limit int

	arena []byte   // of the current reply
	ends  []int    // of its parts in arena; negative for one that is absent
	parts [][]byte // into arena
}

// reply is valid until the next one is read.
type reply struct {
	// kind is the first byte on the wire; a push is told as an array.
	kind byte
	// parts are the elements of an array, or the one value. One that was null or too large is nil.
	parts [][]byte
	// omitted is how many bytes were too many to keep; 0 for a whole reply.
	omitted int
}

func newDecoder(src io.Reader, limit int) *decoder {
	return &decoder{src: bufio.NewReaderSize(src, readBuffer), limit: limit}
}

// next reads one reply. After an error the decoder is of no more use.
func (d *decoder) next() (reply, error) {
	if cap(d.arena) > keepArena {
		d.arena = nil
	}
	d.arena, d.ends = d.arena[:0], d.ends[:0]
	line, err := d.line()
	if err != nil {
		return reply{}, err
	}
	r := reply{kind: line[0]}
	switch r.kind {
	case '*', '>':
		r.kind = '*'
		r.omitted, err = d.array(line)
	default:
		r.omitted, err = d.value(line)
	}
	r.parts = d.cut()
	return r, err
}

func (d *decoder) array(line []byte) (omitted int, err error) {
	n, err := size(line, maxParts)
	for range n {
		if line, err = d.line(); err != nil {
			return omitted, err
		}
		more, err := d.value(line)
		if err != nil {
			return omitted, err
		}
		omitted += more
	}
	return omitted, err
}

// value reads what line begins.
func (d *decoder) value(line []byte) (omitted int, err error) {
	switch line[0] {
	case '$':
		return d.bulk(line)
	case '_':
		d.ends = append(d.ends, -1)
		return 0, nil
	case '+', '-', ':':
		return d.keep(line[1:]), nil
	default:
		return 0, fmt.Errorf("redissub: protocol: a reply of type %q", line[0])
	}
}

func (d *decoder) bulk(line []byte) (omitted int, err error) {
	n, err := size(line, maxBulk)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		d.ends = append(d.ends, -1)
		return 0, nil
	}
	if n > d.limit-len(d.arena) {
		d.ends = append(d.ends, -1)
		if _, err = d.src.Discard(n); err == nil {
			err = d.endOfLine()
		}
		return n, err
	}
	begin := len(d.arena)
	d.arena = slices.Grow(d.arena, n)[:begin+n]
	if _, err = io.ReadFull(d.src, d.arena[begin:]); err != nil {
		return 0, err
	}
	d.ends = append(d.ends, len(d.arena))
	return 0, d.endOfLine()
}

func (d *decoder) keep(text []byte) (omitted int) {
	if len(text) > d.limit-len(d.arena) {
		d.ends = append(d.ends, -1)
		return len(text)
	}
	d.arena = append(d.arena, text...)
	d.ends = append(d.ends, len(d.arena))
	return 0
}

// line reads a type and what follows up to the end of the line, which it leaves out.
func (d *decoder) line() ([]byte, error) {
	line, err := d.src.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	text, ended := bytes.CutSuffix(line, []byte("\r\n"))
	if !ended || len(text) == 0 {
		return nil, fmt.Errorf("redissub: protocol: a line %.40q", line)
	}
	return text, nil
}

func (d *decoder) endOfLine() error {
	end, err := d.src.Peek(2)
	if err != nil {
		return err
	}
	if string(end) != "\r\n" {
		return fmt.Errorf("redissub: protocol: %q after a string", end)
	}
	_, err = d.src.Discard(len(end))
	return err
}

// cut returns the parts, now that the arena stays where it is.
func (d *decoder) cut() [][]byte {
	d.parts = d.parts[:0]
	begin := 0
	for _, end := range d.ends {
		if end < 0 {
			d.parts = append(d.parts, nil)
			continue
		}
		d.parts = append(d.parts, d.arena[begin:end:end])
		begin = end
	}
	return d.parts
}

// size reads the number behind the type: -1 for null.
func size(line []byte, limit int) (int, error) {
	digits := line[1:]
	if string(digits) == "-1" {
		return -1, nil
	}
	n := int64(0)
	for _, c := range digits { // strconv would have the text copied
		n = 10*n + int64(c-'0')
		if c < '0' || c > '9' || n > int64(limit) {
			n = -1
			break
		}
	}
	if n < 0 || len(digits) == 0 {
		return 0, fmt.Errorf("redissub: protocol: %.40q is no length: want -1 to %d", line, limit)
	}
	return int(n), nil
}
