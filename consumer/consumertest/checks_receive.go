package consumertest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

func receiveCount(f *fixture) {
	r := f.open()
	f.publish("m", 10)
	got := 0
	for deadline := time.Now().Add(f.Patience); got < 10; { // once looks at the count
		require.True(f, time.Now().Before(deadline), "received %d messages of 10", got)
		got += len(r.once(f.Patience, consumer.Credit{Count: 3, Bytes: plenty.Bytes}))
	}
}

func receiveBytes(f *fixture) {
	r := f.open()
	const size, number, credit = 1000, 100, 4000
	large := bytes.Repeat([]byte("x"), size)
	f.Publish(slices.Repeat([][]byte{large}, 10)...)
	r.receive(10) // a source may have to learn how large they are
	f.Publish(slices.Repeat([][]byte{large}, number)...)
	got := 0
	for calls := 0; got < number; calls++ {
		require.Less(f, calls, number, "received %d messages of %d: one is always allowed", got, number)
		n := len(r.once(f.Patience, consumer.Credit{Count: 1000, Bytes: credit}))
		require.LessOrEqual(f, n*size, 2*credit, "bytes of one Receive with a credit of %d", credit)
		got += n
	}
	f.publish("larger than the credit", 1)
	require.Len(f, r.once(f.Patience, consumer.Credit{Count: 1, Bytes: 1}), 1, "one is always allowed")
}

func receiveAtOnce(f *fixture) {
	r := f.open()
	f.publish("first", 1)
	begun := time.Now()
	r.receive(1)
	require.Less(f, time.Since(begun), soon, "the only message was kept back")
	published := make(chan struct{})
	defer func() { <-published }() // it may hear of that later than the source
	time.AfterFunc(calm, func() {
		defer close(published)
		f.publish("second", 1)
	})
	begun = time.Now()
	r.receive(1)
	require.Less(f, time.Since(begun), calm+soon, "a message was kept back that came while Receive waited")
}

func receiveContext(f *fixture) {
	r := f.open()
	r.nothing(calm)
	f.publish("m", 1)
	r.receive(1)
}

func receiveFaithfully(f *fixture) {
	r := f.open()
	begun := time.Now()
	odd := [][]byte{
		{}, {0}, []byte("plain"), []byte("\x00\xff\r\n\xc3("), []byte(`{"a":"\u0000"}`), bytes.Repeat([]byte("long "), 200_000),
	}
	f.Publish(odd...)
	many := f.publish("m", 500)
	raws := r.receive(len(odd) + len(many))
	var want, got []string
	for _, p := range odd {
		want = append(want, string(p))
	}
	want = append(want, many...)
	ids := map[string]bool{}
	for _, m := range raws {
		got = append(got, string(m.Payload))
		require.NotEmpty(f, m.ID)
		require.False(f, ids[m.ID], "two messages have the ID %s", m.ID)
		ids[m.ID] = true
		require.Equal(f, 1, m.Attempt)
		require.WithinRange(f, m.At, begun.Add(-time.Minute), time.Now().Add(time.Minute), "At of %s", m.ID)
		require.Empty(f, m.Header("no such header"))
	}
	require.ElementsMatch(f, want, got)
	r.nothing(calm)
}

func receiveParallel(f *fixture) {
	f.need(f.OpenMany != nil, "OpenMany")
	r := f.opened(f.OpenMany())
	p, ok := r.src.(consumer.Parallel)
	require.True(f, ok && p.Readers() > 1, "OpenMany has to return a consumer.Parallel of several readers")
	want := f.publish("m", 1000)
	ctx, cancel := context.WithTimeout(context.Background(), f.Patience)
	defer cancel()
	complete := sync.OnceFunc(func() { time.AfterFunc(calm, cancel) }) // in case more comes
	var mu sync.Mutex
	var got []string
	var readers sync.WaitGroup
	for range p.Readers() {
		readers.Go(func() {
			for ctx.Err() == nil {
				raws, err := r.src.Receive(ctx, plenty)
				mu.Lock()
				if got = append(got, payloads(raws)...); len(got) >= len(want) {
					complete()
				}
				mu.Unlock()
				if err != nil && ctx.Err() == nil {
					f.Errorf("Receive: %v", err)
					cancel()
				}
			}
		})
	}
	readers.Wait()
	require.ElementsMatch(f, want, got)
}

func lagCounts(f *fixture) {
	r := f.open()
	l, ok := r.src.(consumer.Lagger)
	if !ok {
		f.Skip("the source is no consumer.Lagger")
	}
	lag := func() int64 {
		var lag int64
		var err error
		r.call("Lag", f.Patience, func(ctx context.Context) { lag, err = l.Lag(ctx) })
		require.NoError(f, err)
		return lag
	}
	f.publish("first", 1)
	first := r.receive(1)
	f.publish("m", 5)
	for deadline := time.Now().Add(f.Patience); lag() >= 0 && lag() != 5; { // what is published may be on its way
		require.True(f, time.Now().Before(deadline), "the lag is %d with 5 messages waiting", lag())
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // polls
	}
	raws := r.receive(5)
	require.LessOrEqual(f, lag(), int64(0), "all were given to somebody")
	r.settle(all(append(first, raws...), consumer.Ack, 0)...)
	require.LessOrEqual(f, lag(), int64(0), "all are done")
}
