package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestFault_KilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	w := shared(t)
	held, cycles := int64(0), testserver.Times(3, 100)
	for range cycles {
		require.NoError(t, w.send([]byte("no beat"), []byte("nor this")))
		w.sendBeats(12_000)
		p := w.start()
		w.await("for it to be at work", func() bool { return p.stats().Consumer.InFlight > 0 || w.empty() }, p)
		<-time.After(rand.N(50 * time.Millisecond))
		p.kill()
		_, pending := w.backlog()
		held += pending
	}
	require.NotZero(t, held, "the test is void if they left nothing behind")
	p := w.start()
	w.drained(p)
	require.Equal(t, 2*cycles, w.complete())
	p.stop()
}

func (w *world) empty() bool {
	waiting, _ := w.backlog()
	return waiting == 0
}

// Two to five processes come and go, one way or the other, while messages come in.
func TestFault_ProcessesJoinAndLeave(t *testing.T) {
	t.Parallel()
	w := shared(t)
	stopLoad := w.load()
	cycles := testserver.Times(6, 200)
	crew := []*program{w.start(), w.start()}
	for range cycles {
		require.NoError(t, w.send([]byte("no beat")))
		if len(crew) < 5 && (len(crew) == 2 || rand.N(2) == 0) {
			crew = append(crew, w.start())
			continue
		}
		i := rand.N(len(crew))
		if rand.N(2) == 0 {
			crew[i].kill()
		} else {
			crew[i].stop()
		}
		crew = append(crew[:i], crew[i+1:]...)
	}
	stopLoad()
	w.drained(crew...)
	require.Equal(t, cycles, w.complete())
	for _, p := range crew {
		p.stop()
	}
}
