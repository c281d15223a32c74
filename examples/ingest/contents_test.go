package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestContents_OnePercentMalformed(t *testing.T) {
	t.Parallel()
	w := shared(t)
	n := testserver.Times(5000, 500_000)
	for begin := 0; begin < n; begin += 1000 {
		var payloads [][]byte
		for i := range 1000 {
			payload := beat(i)
			if i%100 == 99 {
				payload = payload[:len(payload)-1]
			}
			payloads = append(payloads, payload)
		}
		require.NoError(t, w.send(payloads...))
	}
	p := w.start()
	w.drained(p)
	require.Equal(t, n/100, w.complete())
	s := p.stats().Consumer
	require.EqualValues(t, n/100, s.Dead)
	require.EqualValues(t, n, s.MessageCount, "no good message was handled twice for a bad one beside it")
	p.stop()
}

// Then it isn't the messages: intake pauses, and most of the stream stays what it is until somebody has looked.
func TestContents_AllMalformed(t *testing.T) {
	t.Parallel()
	w := shared(t)
	for range 30 {
		require.NoError(t, w.send(make([][]byte, 1000)...))
	}
	p := w.start()
	w.await("for intake to pause", func() bool {
		return bytes.Contains([]byte(p.stderr.String()), []byte("too many messages are dead letters"))
	}, p)
	w.await("for what was read to be settled", func() bool { return p.stats().Consumer.InFlight == 0 }, p)
	dead := p.stats().Consumer.Dead
	p.stop()
	waiting, pending := w.backlog()
	require.Zero(t, pending)
	require.NotZero(t, waiting)
	services := w.stored()
	require.EqualValues(t, dead, len(services))
	require.EqualValues(t, 30_000, int64(len(services))+waiting)
}

func TestContents_OneMegabyte(t *testing.T) {
	t.Parallel()
	w := shared(t)
	n := testserver.Times(10, 300)
	good := fmt.Appendf(nil, `{"service_name":"large","instance_id":"1","text":"%s"}`, bytes.Repeat([]byte("x"), 1<<20))
	for range n {
		require.NoError(t, w.send(good, good, good, good[:1<<20])) // not so many bad ones that intake pauses
	}
	p := w.start("-timeout", "30s")
	w.drained(p)
	require.Equal(t, n, w.complete())
	p.stop()
}
