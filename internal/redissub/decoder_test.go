package redissub_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/redissub"
)

const limit = 64

func TestDecoder_Replies(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", limit)
	for name, tc := range map[string]struct {
		wire string
		want redissub.Reply
	}{
		"message":                 {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\na\r\nbc\r\n", redissub.Reply{Kind: '*', Parts: []string{"message", "c", "a\r\nbc"}}},
		"push":                    {">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$0\r\n\r\n", redissub.Reply{Kind: '*', Parts: []string{"pmessage", "*", "c", ""}}},
		"confirmation":            {"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", redissub.Reply{Kind: '*', Parts: []string{"subscribe", "c", "1"}}},
		"pong of RESP3":           {"+PONG\r\n", redissub.Reply{Kind: '+', Parts: []string{"PONG"}}},
		"error":                   {"-NOPERM no\r\n", redissub.Reply{Kind: '-', Parts: []string{"NOPERM no"}}},
		"null string":             {"$-1\r\n", redissub.Reply{Kind: '$', Parts: []string{""}}},
		"null in an array":        {">2\r\n_\r\n+x\r\n", redissub.Reply{Kind: '*', Parts: []string{"", "x"}}},
		"null array":              {"*-1\r\n", redissub.Reply{Kind: '*'}},
		"payload too large":       {"*3\r\n$1\r\nm\r\n$1\r\nc\r\n$64\r\n" + large + "\r\n", redissub.Reply{Kind: '*', Parts: []string{"m", "c", ""}, Omitted: limit}},
		"channel too large":       {"*3\r\n$1\r\nm\r\n$64\r\n" + large + "\r\n$1\r\np\r\n", redissub.Reply{Kind: '*', Parts: []string{"m", "", "p"}, Omitted: limit}},
		"error too large":         {"-" + large + large + "\r\n", redissub.Reply{Kind: '-', Parts: []string{""}, Omitted: 2 * limit}},
		"as large as may be held": {"$64\r\n" + large + "\r\n", redissub.Reply{Kind: '$', Parts: []string{large}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, src := range []io.Reader{strings.NewReader(tc.wire + tc.wire), iotest.OneByteReader(strings.NewReader(tc.wire + tc.wire))} {
				got, _, err := redissub.Decode(src, limit)
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, []redissub.Reply{tc.want, tc.want}, got, "the second shows where the first ended")
			}
		})
	}
}

func TestDecoder_Nonsense(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"no type":         "\r\n",
		"unknown type":    "?1\r\n",
		"map":             "%1\r\n+a\r\n+b\r\n",
		"nested":          "*1\r\n*1\r\n+a\r\n",
		"too many parts":  "*9\r\n",
		"below null":      "$-2\r\n",
		"beyond a string": "$536870913\r\n",
		"overflow":        "$99999999999999999999\r\n",
		"no number":       "*x\r\n",
		"bare newline":    "+PONG\n",
		"string too long": "$1\r\nabc\r\n",
		"endless line":    "+" + strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := redissub.Decode(strings.NewReader(wire), limit)
			require.Error(t, err)
			require.NotErrorIs(t, err, io.EOF)
			require.Empty(t, got)
		})
	}
}

func TestDecoder_NoAllocationPerMessage(t *testing.T) { // not parallel: others would be counted
	message := ">4\r\n$8\r\npmessage\r\n$26\r\nhealth:service:*:heartbeat\r\n$9\r\nheartbeat\r\n$500\r\n" + strings.Repeat("p", 500) + "\r\n"
	next := redissub.Decoding(strings.NewReader(strings.Repeat(message, 2000)), 1<<20)
	require.NoError(t, next())
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if next() != nil {
			panic("a message that can't be read")
		}
	}))
}

func FuzzDecoder(f *testing.F) {
	for _, seed := range []string{
		"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\np\r\n", ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "+PONG\r\n", "-ERR x\r\n", "$-1\r\n", "_\r\n", "*8\r\n", "$536870912\r\nx",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		whole, arena, err := redissub.Decode(bytes.NewReader(wire), limit)
		require.Error(t, err)
		require.LessOrEqual(t, arena, 4*limit, "the memory is bounded whatever comes")
		pieces, _, _ := redissub.Decode(iotest.OneByteReader(bytes.NewReader(wire)), limit)
		require.Equal(t, whole, pieces, "how the bytes arrive makes no difference")
	})
}
