package postgres

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

// copyReader is the stream of rows that COPY … (FORMAT binary) reads. It is written here and not by pgx's CopyFrom, which takes a
// row as a slice of interfaces, and four times as long.
// https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
type copyReader[E any] struct {
	append func(b []byte, row E) []byte

	mu     sync.Mutex // guards all below: after an error pgconn returns while its goroutine still reads
	rows   []E        // to be written
	buffer *[]byte
	rest   []byte // of buffer
	ended  bool
}

const copyBuffer = 64 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, copyBuffer); return &b }}

func newCopyReader[E any](rows []E, appendRow func([]byte, E) []byte) *copyReader[E] {
	r := &copyReader[E]{append: appendRow, rows: rows, buffer: copyBuffers.Get().(*[]byte)}
	*r.buffer = append((*r.buffer)[:0], "PGCOPY\n\xff\r\n\x00"+"\x00\x00\x00\x00"+"\x00\x00\x00\x00"...)
	r.rest = *r.buffer
	return r
}

// close ends the stream: the rows are the caller's again.
func (r *copyReader[E]) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffer != nil {
		if cap(*r.buffer) <= 2*copyBuffer {
			copyBuffers.Put(r.buffer)
		}
		r.rows, r.rest, r.buffer = nil, nil, nil
	}
	r.ended = true
}

func (r *copyReader[E]) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	for n < len(p) && !r.ended {
		r.fill(len(p) - n)
		m := copy(p[n:], r.rest)
		r.rest = r.rest[m:]
		n += m
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// fill writes at least so many bytes, if there are that many, to the buffer, which is empty.
func (r *copyReader[E]) fill(size int) {
	b := (*r.buffer)[:0]
	for len(b) < size && len(r.rows) > 0 {
		b = r.append(b, r.rows[0])
		r.rows = r.rows[1:]
	}
	if len(r.rows) == 0 && len(b) < size {
		b = binary.BigEndian.AppendUint16(b, 0xffff) // the trailer
		r.ended = true
	}
	*r.buffer, r.rest = b, b
}

// appendMessage is a row of copySQL.
func appendMessage(b []byte, m *store.Message) []byte {
	const columns = 8
	b = binary.BigEndian.AppendUint16(b, columns)
	b = appendTime(b, m.At)
	b = appendText(b, m.ID)
	b = appendText(b, m.Channel)
	b = appendText(b, m.Service)
	b = appendText(b, m.Instance)
	b = appendInt64(b, m.Count)
	b = appendText(b, m.Status)
	return appendOrNull(b, m.Payload)
}

// appendRequest is a row of copyRequestsSQL.
func appendRequest(b []byte, r *store.Request, accepted time.Time) []byte {
	const columns = 20
	b = binary.BigEndian.AppendUint16(b, columns)
	b = appendText(b, r.Queue)
	b = appendText(b, r.ID)
	b = appendText(b, r.Owner)
	b = appendText(b, r.Key)
	b = appendInt32(b, r.Priority)
	b = appendInt32(b, r.MaxAttempts)
	b = appendTime(b, r.Deadline)
	b = appendTime(b, r.Created)
	b = appendOrNull(b, r.Payload)
	b = appendText(b, r.Status)
	b = appendText(b, r.Worker)
	b = appendInt32(b, r.Attempts)
	b = appendTime(b, r.Queued)
	b = appendTime(b, r.Started)
	b = appendTime(b, r.Completed)
	b = appendInt64(b, int64(r.Processing))
	b = appendOrNull(b, rules.Steps(r))
	b = appendOrNull(b, r.Result)
	b = appendOrNull(b, r.Error)
	return appendTime(b, accepted)
}

const postgresEpoch = 946_684_800_000_000 // 2000-01-01 in microseconds of Unix time

// appendTime writes null for no time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return appendNull(b)
	}
	return appendInt64(b, t.UnixMicro()-postgresEpoch)
}

func appendInt64(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

func appendInt32(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 4), uint32(n))
}

func appendText[T string | ~[]byte](b []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// appendOrNull writes null for nothing.
func appendOrNull[T string | ~[]byte](b []byte, text T) []byte {
	if len(text) == 0 {
		return appendNull(b)
	}
	return appendText(b, text)
}

func appendNull(b []byte) []byte { return binary.BigEndian.AppendUint32(b, 0xffff_ffff) }
