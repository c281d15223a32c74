package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/rules"
)

const (
	// copyRows is from how many messages on COPY is faster than a statement.
	copyRows = 100

	// cautious is how many batches without a duplicate end the time in which COPY isn't tried.
	cautious = 8

	codeDuplicate = "23505"
)

// path decides how batches go to the log. COPY is fastest by far but knows no ON CONFLICT: it takes batches that hold nothing
// that is stored already, and fails at the first message that is. Most batches are such. After one that wasn't, the server is
// asked first what it has, until several batches in a row held nothing of it. So a replay costs one COPY in vain, and one
// line in the server's log, and not one for each batch.
type path struct{ caution atomic.Int32 }

func (p *path) careful() bool { return p.caution.Load() > 0 }

// saw is told how many duplicates a batch had.
func (p *path) saw(duplicates int) {
	switch {
	case duplicates > 0:
		p.caution.Store(cautious)
	case p.careful():
		p.caution.Add(-1)
	}
}

// copyFresh copies those messages that aren't stored yet. It fails with codeDuplicate where others store the same ones at
// the same time.
func (db *DB) copyFresh(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) ([]bool, error) {
	if !db.path.careful() {
		err := db.copy(ctx, conn, msgs)
		if codeOf(err) != codeDuplicate {
			return allTrue(len(msgs)), err
		}
	}
	stored, err := db.stored(ctx, conn, msgs)
	if err != nil {
		return nil, err
	}
	fresh := allTrue(len(msgs))
	for _, i := range stored {
		fresh[i] = false
	}
	db.path.saw(len(stored))
	if len(stored) == len(msgs) {
		return fresh, nil
	}
	rest := make([]*store.Message, 0, len(msgs))
	for i, m := range msgs {
		if fresh[i] {
			rest = append(rest, m)
		}
	}
	return fresh, db.copy(ctx, conn, rest)
}

// stored returns which messages are stored, by index.
func (db *DB) stored(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) ([]int, error) {
	rows, err := conn.Query(ctx, db.statements.stored, column(msgs, at), column(msgs, id), msgs[0].At, msgs[len(msgs)-1].At)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// copy stores messages none of which are stored, or fails with codeDuplicate. That takes two round trips: the log,
// then all that follows from it. The statuses, which all writers want, come last, so that the locks on them are held shortly.
func (db *DB) copy(ctx context.Context, conn *pgx.Conn, msgs []*store.Message) error {
	r := newCopyReader(msgs)
	_, err := conn.PgConn().CopyFrom(ctx, r, db.statements.copy)
	r.close()
	if err == nil {
		err = conn.SendBatch(ctx, db.consequences(msgs)).Close()
	}
	if err != nil && !conn.IsClosed() {
		_, _ = conn.Exec(ctx, "ROLLBACK") // else the pool closes the connection
	}
	return err
}

// consequences are what follows from messages that are all fresh, and the commit.
func (db *DB) consequences(msgs []*store.Message) *pgx.Batch {
	batch := &pgx.Batch{}
	batch.Queue(db.statements.pending, minutesOf(msgs))
	if newest := rules.Newest(msgs); len(newest) > 0 {
		slices.SortFunc(newest, rules.BySender)
		batch.Queue(db.statements.newest, column(newest, service), column(newest, instance), column(newest, status),
			column(newest, at), column(newest, sequence), column(newest, id))
	}
	if anyAlerts(msgs) {
		db.queueAlerts(batch, transitionsOf(msgs, nil))
	}
	batch.Queue("COMMIT")
	return batch
}

func minutesOf(msgs []*store.Message) []time.Time {
	var minutes []time.Time
	for _, m := range msgs {
		if minute := m.At.Truncate(time.Minute); len(minutes) == 0 || !minutes[len(minutes)-1].Equal(minute) {
			minutes = append(minutes, minute)
		}
	}
	return minutes
}

// copyReader is the stream of messages that COPY … (FORMAT binary) reads, in the order of copySQL's columns. It is written
// here and not by pgx's CopyFrom, which takes a row as a slice of interfaces, and four times as long.
// https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
type copyReader struct {
	mu     sync.Mutex       // guards all: after an error pgconn returns while its goroutine still reads
	msgs   []*store.Message // to be written
	buffer *[]byte
	rest   []byte // of buffer
	ended  bool
}

const copyBuffer = 64 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, copyBuffer); return &b }}

func newCopyReader(msgs []*store.Message) *copyReader {
	r := &copyReader{msgs: msgs, buffer: copyBuffers.Get().(*[]byte)}
	*r.buffer = append((*r.buffer)[:0], "PGCOPY\n\xff\r\n\x00"+"\x00\x00\x00\x00"+"\x00\x00\x00\x00"...)
	r.rest = *r.buffer
	return r
}

// close ends the stream: the messages are the caller's again.
func (r *copyReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffer != nil {
		if cap(*r.buffer) <= 2*copyBuffer {
			copyBuffers.Put(r.buffer)
		}
		r.msgs, r.rest, r.buffer = nil, nil, nil
	}
	r.ended = true
}

func (r *copyReader) Read(p []byte) (int, error) {
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
func (r *copyReader) fill(size int) {
	b := (*r.buffer)[:0]
	for len(b) < size && len(r.msgs) > 0 {
		b = appendRow(b, r.msgs[0])
		r.msgs = r.msgs[1:]
	}
	if len(r.msgs) == 0 && len(b) < size {
		b = binary.BigEndian.AppendUint16(b, 0xffff) // the trailer
		r.ended = true
	}
	*r.buffer, r.rest = b, b
}

const (
	copyColumns   = 8
	postgresEpoch = 946_684_800_000_000 // 2000-01-01 in microseconds of Unix time
)

func appendRow(b []byte, m *store.Message) []byte {
	b = binary.BigEndian.AppendUint16(b, copyColumns)
	b = appendInt64(b, m.At.UnixMicro()-postgresEpoch)
	b = appendText(b, m.ID)
	b = appendText(b, m.Channel)
	b = appendText(b, m.Service)
	b = appendText(b, m.Instance)
	b = appendInt64(b, m.Count)
	b = appendText(b, m.Status)
	if len(m.Payload) == 0 {
		return binary.BigEndian.AppendUint32(b, 0xffff_ffff) // null
	}
	return appendText(b, m.Payload)
}

func appendInt64(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

func appendText[T string | ~[]byte](b []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}
