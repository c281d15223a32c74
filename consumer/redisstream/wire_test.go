package redisstream_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

// played is a connection on which these bytes are all that comes.
type played struct {
	net.Conn
	io.Reader
}

func (p played) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p played) Write(b []byte) (int, error) { return len(b), nil }
func (p played) SetDeadline(time.Time) error { return nil }

func replay(tb testing.TB, reply io.Reader, count int) ([]redisstream.Item, error) {
	tb.Helper()
	return redisstream.ReadGroup(tb.Context(), played{Reader: reply}, "s", count)
}

// twoEntries is a reply in RESP2; in RESP3 the beginning differs.
const (
	resp2, resp3 = "*1\r\n*2\r\n", "%1\r\n"
	twoEntries   = "$1\r\ns\r\n*2\r\n" +
		"*2\r\n$3\r\n1-1\r\n*4\r\n$7\r\npayload\r\n$5\r\na\r\nbc\r\n$3\r\nkey\r\n$0\r\n\r\n" +
		"*2\r\n$3\r\n1-2\r\n*2\r\n$7\r\npayload\r\n$1\r\nx\r\n"
)

func TestWire_ReadsBothProtocolsInAnyPieces(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{resp2, resp3} {
		for name, pieces := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "bytes": iotest.OneByteReader,
		} {
			items, err := replay(t, pieces(strings.NewReader(begin+twoEntries)), 2)
			require.NoError(t, err, name)
			require.Len(t, items, 2)
			require.Equal(t, "1-1", items[0].ID())
			require.Equal(t, "s/1-1", items[0].Name())
			require.Equal(t, []string{"payload", "a\r\nbc", "key", ""}, items[0].Fields())
			require.Equal(t, "a\r\nbc", items[0].Field("payload"))
			require.Empty(t, items[0].Field("other"))
			require.Equal(t, []string{"payload", "x"}, items[1].Fields())
		}
	}
}

func TestWire_NothingAndRefusals(t *testing.T) {
	t.Parallel()
	for _, nothing := range []string{"*-1\r\n", "_\r\n"} {
		_, err := replay(t, strings.NewReader(nothing), 1)
		require.ErrorIs(t, err, redis.Nil)
	}
	_, err := replay(t, strings.NewReader("-NOGROUP No such key 's'\r\n"), 1)
	require.True(t, redis.HasErrorPrefix(err, "NOGROUP"), "%v", err)
	items, err := replay(t, strings.NewReader(resp2+"$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n"), 1)
	require.NoError(t, err)
	require.Empty(t, items[0].Fields(), "an entry without its data")
}

func TestWire_RefusesWhatIsNoReply(t *testing.T) {
	t.Parallel()
	whole := resp2 + twoEntries
	for n := range whole {
		_, err := replay(t, strings.NewReader(whole[:n]), 2)
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
	for name, reply := range map[string]string{
		"more than asked for":     strings.Replace(whole, "*2\r\n*2\r\n$3", "*3\r\n*2\r\n$3", 1),
		"two streams":             strings.Replace(whole, "*1", "*2", 1),
		"a reply too many":        whole + "+OK\r\n",
		"push":                    ">1\r\n" + whole,
		"half a field":            strings.Replace(whole, "*4", "*3", 1),
		"number for a string":     strings.Replace(whole, "$1\r\nx", ":1\r\nx", 1),
		"string too long":         strings.Replace(whole, "$1\r\nx", "$0\r\nx", 1),
		"nil for a string":        strings.Replace(whole, "$1\r\nx\r\n", "$-1\r\n", 1),
		"no number":               strings.Replace(whole, "$1\r\nx", "$x\r\nx", 1),
		"a number without end":    strings.Replace(whole, "$1\r\nx", "$"+strings.Repeat("1", 99)+"\r\nx", 1),
		"a gigabyte announced":    strings.Replace(whole, "$1\r\nx", "$999999999\r\nx", 1),
		"a billion fields":        strings.Replace(whole, "*4", "*999999998", 1),
		"a line without end":      "*" + strings.Repeat("1", 100_000),
		"a line without its CR":   "*1\n",
		"not Redis":               "HTTP/1.1 400 Bad Request\r\n\r\n",
		"entry of three":          strings.Replace(whole, "*2\r\n$3\r\n1-1", "*3\r\n$3\r\n1-1", 1),
		"stream without a name":   strings.Replace(whole, "$1\r\ns", "*1\r\ns", 1),
		"entries are no array":    strings.Replace(whole, "s\r\n*2", "s\r\n%2", 1),
		"pair of three":           strings.Replace(whole, "*1\r\n*2", "*1\r\n*3", 1),
		"fields in a map of maps": strings.Replace(whole, "*4", "%4", 1),
	} {
		require.NotEqual(t, whole, reply, name)
		items, err := replay(t, strings.NewReader(reply), 2)
		require.Error(t, err, name)
		require.Empty(t, items, name)
	}
}

// What one entry holds can't be reached through its neighbour.
func TestWire_NoPayloadReachesIntoTheNext(t *testing.T) {
	t.Parallel()
	payloads := deliver(t, 2, [][]string{{"payload", "aaaa"}, {"payload", "bbbb"}})
	_ = append(payloads[0], "overwritten"...)
	require.Equal(t, "bbbb", string(payloads[1]))
}

// deliver adds entries to a stream of a real server, and returns the payloads as a consumer gets them.
func deliver(t *testing.T, protocol int, entries [][]string) (payloads [][]byte) {
	t.Helper()
	opt, err := redis.ParseURL(testserver.RedisURL(t))
	require.NoError(t, err)
	opt.Protocol = protocol
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	stream := "wire:" + strconv.Itoa(protocol) + ":" + t.Name()
	for _, e := range entries {
		require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: e}).Err())
	}
	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{stream}, Group: "g"})
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close(context.Background())) }()
	want, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
	require.NoError(t, err)
	for len(payloads) < len(entries) {
		raws, err := src.Receive(t.Context(), consumer.Credit{Count: 1000, Bytes: 1 << 30})
		require.NoError(t, err)
		for _, raw := range raws {
			e := want[len(payloads)]
			require.Equal(t, stream+"/"+e.ID, raw.ID)
			for name, value := range e.Values {
				require.Equal(t, value, raw.Header(name))
			}
			payloads = append(payloads, raw.Payload)
		}
	}
	return payloads
}

func TestWire_EntriesAreAsTheyWereAdded(t *testing.T) {
	t.Parallel()
	var entries [][]string
	for i := range 100 { // more than share their memory
		entries = append(entries, []string{"payload", strings.Repeat("x", i*i), "n", strconv.Itoa(i)})
	}
	entries = append(
		entries,
		[]string{"other", "no payload"}, []string{"payload", ""}, []string{"payload", "\x00\r\n$5\r\n\xff", "", "no name"},
		[]string{"payload", strings.Repeat("big", 1<<20)}, []string{"payload", "after it"},
		append([]string{"payload", "many"}, strings.Split(strings.Repeat("name,value,", 500), ",")[:1000]...),
	)
	for _, protocol := range []int{2, 3} {
		payloads := deliver(t, protocol, entries)
		for i, e := range entries {
			if e[0] == "payload" {
				require.True(t, e[1] == string(payloads[i]), "entry %d", i)
			} else {
				require.Empty(t, payloads[i])
			}
		}
	}
}

// FuzzWire shows that nothing a server sends is worse than an error.
func FuzzWire(f *testing.F) {
	for _, seed := range []string{
		resp2 + twoEntries, resp3 + twoEntries, "*-1\r\n", "_\r\n", "-NOGROUP x\r\n", "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n",
		resp2 + "$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n", "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$-1\r\n*0\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		items, err := replay(t, bytes.NewReader(reply), 4)
		if err != nil {
			require.Empty(t, items)
			return
		}
		require.LessOrEqual(t, len(items), 4)
		for _, it := range items {
			size := 0
			for _, s := range it.Fields() {
				size += len(s)
			}
			require.LessOrEqual(t, size, len(reply))
			require.Equal(t, "s/"+it.ID(), it.Name())
			_ = it.Field("payload")
		}
	})
}
