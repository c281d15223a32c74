package redisstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	wireBuffer = 64 << 10
	// together is how many entries share their memory, or fewer when they are large: one that is kept for long keeps no more than these alive.
	together, togetherBytes = 16, 64 << 10
	keptScratch             = 1 << 20
)

// wire reads entries with XREADGROUP from a connection that go-redis has made and nothing else is using meanwhile. What go-redis returns is a map and a string
// for each field; this is one piece of memory for several entries, and half the work of all that a consumer does.
type wire struct {
	socket net.Conn
	in     *bufio.Reader
	out    []byte // the command

	// What was read of up to together entries, to be copied as one.
	prefix         string // of names
	names, data    []byte
	items          []item
	nameTo, dataTo []int // where the last items end
}

// item is an entry as it was read.
type item struct {
	name     string // the ID of its message
	id       string // within the stream, the end of name
	attempts int64  // deliveries that count, or 0 for one that was never delivered before
	fields   flat
}

// readGroup asks for entries that nobody was given yet and waits for the reply, until the deadline of ctx. It returns them until it is called again, or redis.Nil if there are none. After any other error
// but one of [redis.Error] the connection can't be used any more.
func (w *wire) readGroup(ctx context.Context, socket net.Conn, group, consumer, stream string, count int, block time.Duration) ([]item, error) {
	if w.socket != socket {
		w.socket, w.in = socket, bufio.NewReaderSize(socket, wireBuffer)
	}
	deadline, _ := ctx.Deadline()
	if err := socket.SetDeadline(deadline); err != nil {
		return nil, err
	}
	w.command("XREADGROUP", "GROUP", group, consumer, "COUNT", strconv.Itoa(count), "BLOCK", strconv.FormatInt(block.Milliseconds(), 10), "STREAMS", stream, ">")
	if _, err := socket.Write(w.out); err != nil {
		return nil, err
	}
	items, err := w.reply(stream, count)
	if err == nil && w.in.Buffered() > 0 {
		err = fmt.Errorf("%w: more than one", errWire)
	}
	if err != nil {
		return nil, err
	}
	return items, socket.SetDeadline(time.Time{})
}

func (w *wire) command(args ...string) {
	w.out = append(w.out[:0], '*')
	w.out = strconv.AppendInt(w.out, int64(len(args)), 10)
	w.out = append(w.out, "\r\n"...)
	for _, arg := range args {
		w.out = appendBulk(w.out, arg)
	}
}

// errWire is within what is wrong with a reply.
var errWire = errors.New("unexpected reply to XREADGROUP")

// refusal is an error that the server has sent.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError makes it a [redis.Error].
func (refusal) RedisError() {}

// reply reads the entries of one stream: [[stream, entries]], or {stream: entries} where the connection speaks RESP3.
func (w *wire) reply(stream string, most int) ([]item, error) {
	kind, n, err := w.head()
	switch {
	case err != nil:
		return nil, err
	case n < 0:
		return nil, redis.Nil
	case n != 1 || kind != '*' && kind != '%':
		return nil, fmt.Errorf("%w: %q of %d", errWire, kind, n)
	}
	if kind == '*' {
		if err := w.array(2); err != nil {
			return nil, err
		}
	}
	w.prefix, w.names, w.data = stream+"/", w.names[:0], w.data[:0]
	if err := w.bulk(); err != nil { // the name of the stream
		return nil, err
	}
	w.data = w.data[:0]
	if kind, n, err = w.head(); err != nil {
		return nil, err
	}
	if kind != '*' || n > most {
		return nil, fmt.Errorf("%w: %q of %d entries, with a COUNT of %d", errWire, kind, n, most)
	}
	w.items, w.nameTo, w.dataTo = w.items[:0], w.nameTo[:0], w.dataTo[:0]
	for range n {
		if err := w.entry(); err != nil {
			return nil, err
		}
	}
	w.share()
	return w.items, nil
}

// entry reads one: [id, [name, value, …]].
func (w *wire) entry() error {
	if err := w.array(2); err != nil {
		return err
	}
	begin := len(w.data)
	if err := w.bulk(); err != nil {
		return err
	}
	id, _, _ := flat(w.data[begin:]).next()
	w.names = append(append(w.names, w.prefix...), id...)
	w.data = w.data[:begin]
	kind, n, err := w.head()
	if err != nil {
		return err
	}
	if n >= 0 && (kind != '*' || n%2 != 0) {
		return fmt.Errorf("%w: %q of %d fields", errWire, kind, n)
	}
	for range n {
		if err := w.bulk(); err != nil {
			return err
		}
	}
	w.nameTo, w.dataTo = append(w.nameTo, len(w.names)), append(w.dataTo, len(w.data))
	if len(w.nameTo) >= together || len(w.data) >= togetherBytes {
		w.share()
	}
	return nil
}

// share gives the last entries the memory that they share.
func (w *wire) share() {
	names, data := string(w.names), bytes.Clone(w.data)
	name, from := 0, 0
	for i, to := range w.dataTo {
		it := item{name: names[name:w.nameTo[i]], fields: flat(data[from:to:to])}
		it.id = it.name[len(w.prefix):]
		w.items = append(w.items, it)
		name, from = w.nameTo[i], to
	}
	w.nameTo, w.dataTo, w.names = w.nameTo[:0], w.dataTo[:0], w.names[:0]
	if w.data = w.data[:0]; cap(w.data) > keptScratch {
		w.data = nil
	}
}

// head reads what a reply or a part of it begins with: its type and its size, negative for none.
func (w *wire) head() (kind byte, n int, err error) {
	line, err := w.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return 0, 0, fmt.Errorf("%w: a line without end", errWire)
	case err != nil:
		return 0, 0, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return 0, 0, fmt.Errorf("%w: %.100q", errWire, line)
	}
	kind, line = line[0], line[1:len(line)-2]
	if kind == '-' {
		return 0, 0, refusal(line)
	}
	if kind == '_' {
		return kind, -1, nil
	}
	n, ok := size(line)
	if !ok {
		return 0, 0, fmt.Errorf("%w: %q%.100q", errWire, kind, line)
	}
	return kind, n, nil
}

func (w *wire) array(want int) error {
	kind, n, err := w.head()
	if err == nil && (kind != '*' || n != want) {
		err = fmt.Errorf("%w: %q of %d in place of an array of %d", errWire, kind, n, want)
	}
	return err
}

// bulk appends a string to data, as flat has it.
func (w *wire) bulk() error {
	kind, n, err := w.head()
	if err != nil {
		return err
	}
	if kind != '$' || n < 0 {
		return fmt.Errorf("%w: %q of %d in place of a string", errWire, kind, n)
	}
	w.data = appendSize(w.data, n)
	for n += len(crlf); n > 0; { // piece by piece: nothing is allocated for what is only announced
		piece := min(n, wireBuffer)
		begin := len(w.data)
		w.data = append(w.data, make([]byte, piece)...)
		if _, err := io.ReadFull(w.in, w.data[begin:]); err != nil {
			return err
		}
		n -= piece
	}
	if !bytes.HasSuffix(w.data, []byte(crlf)) {
		return fmt.Errorf("%w: a string longer than announced", errWire)
	}
	return nil
}
