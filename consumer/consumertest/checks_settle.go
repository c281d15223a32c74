package consumertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

func settleAck(f *fixture) {
	r := f.open()
	f.publish("m", 20)
	raws := r.receive(20)
	r.settle(all(raws, consumer.Ack, 0)...)
	r.nothing(calm)
	next := r.successor()
	next.nothing(next.rest())
	f.publish("later", 1)
	next.receive(1)
}

func settleRetry(f *fixture) {
	r := f.open()
	f.publish("m", 3)
	first := r.receive(3)
	settled := time.Now()
	r.settle(all(first, consumer.Retry, pause)...)
	f.publish("other", 1)
	other := r.receive(1)
	require.Contains(f, string(other[0].Payload), "other", "others go on in the meantime")
	r.settle(all(other, consumer.Ack, 0)...)
	second := r.receive(3)
	require.GreaterOrEqual(f, time.Since(settled), pause, "delivered again before Outcome.After was over")
	f.same(first, second, 1)
	r.settle(all(second, consumer.Retry, 0)...)
	f.same(first, r.receive(3), 2)
}

func settleRelease(f *fixture) {
	r := f.open()
	f.publish("m", 3)
	first := r.receive(3)
	r.settle(all(first, consumer.Release, 0)...)
	second := r.receive(3)
	f.same(first, second, 0)
	settled := time.Now()
	r.settle(all(second, consumer.Release, pause)...)
	third := r.receive(3)
	require.GreaterOrEqual(f, time.Since(settled), pause, "delivered again before Outcome.After was over")
	f.same(first, third, 0)
	r.settle(all(third, consumer.Ack, 0)...)
	r.nothing(calm)
}

func settleAgain(f *fixture) {
	r := f.open()
	f.publish("m", 6)
	raws := r.receive(6)
	outcomes := append(append(all(raws[:2], consumer.Retry, pause), all(raws[2:4], consumer.Release, pause)...), all(raws[4:], consumer.Ack, 0)...)
	for range 3 {
		r.settle(outcomes...)
	}
	again := r.receive(4)
	r.nothing(calm)
	var retried, released []consumer.Raw
	for _, m := range again {
		if m.ID == raws[0].ID || m.ID == raws[1].ID {
			retried = append(retried, m)
		} else {
			released = append(released, m)
		}
	}
	f.same(raws[:2], retried, 1)
	f.same(raws[2:4], released, 0)
}

func settleMixed(f *fixture) {
	r := f.open()
	f.publish("m", 30)
	raws := r.receive(30)
	var outcomes []consumer.Outcome
	var again []consumer.Raw
	for i, m := range raws {
		kind := []consumer.Kind{consumer.Ack, consumer.Retry, consumer.Release}[i%3]
		outcomes = append(outcomes, consumer.Outcome{Raw: &raws[i], Kind: kind, Err: errors.New("some reason")})
		switch kind {
		case consumer.Retry:
			m.Attempt++
			again = append(again, m)
		case consumer.Release:
			again = append(again, m)
		}
	}
	r.settle(outcomes...)
	f.same(again, r.receive(20), 0)
	r.nothing(calm)
}

func settleSlice(f *fixture) {
	r := f.open()
	f.publish("m", 10)
	raws := r.receive(10)
	outcomes := all(raws, consumer.Retry, 0)
	r.settle(outcomes...)
	for i := range outcomes { // the consumer fills it with the next ones
		outcomes[i] = consumer.Outcome{Raw: &consumer.Raw{}}
	}
	f.same(raws, r.receive(10), 1)
}

func settleBeside(f *fixture) {
	r := f.open()
	const number = 2000
	received := make(chan []consumer.Raw, number)
	finish := sync.OnceFunc(func() { close(received) })
	defer finish()
	var err error
	var settling sync.WaitGroup
	settling.Go(func() {
		for raws := range received {
			err = errors.Join(err, r.src.Settle(context.Background(), all(raws, consumer.Ack, 0)))
		}
	})
	want := f.publish("m", number)
	var got []string
	var last []consumer.Raw
	for deadline := time.Now().Add(f.Patience); len(got) < number && time.Now().Before(deadline); {
		received <- last
		last = r.once(time.Until(deadline), consumer.Credit{Count: 100, Bytes: plenty.Bytes})
		got = append(got, payloads(last)...)
	}
	finish()
	settling.Wait()
	require.NoError(f, err, "of Settle")
	require.ElementsMatch(f, want, got)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stray []consumer.Raw
	var waiting sync.WaitGroup
	waiting.Go(func() { stray, _ = r.src.Receive(ctx, plenty) })
	time.Sleep(calm) //nolint:forbidigo // nobody can tell when a Receive waits
	begun := time.Now()
	r.settle(all(last, consumer.Ack, 0)...)
	took := time.Since(begun)
	cancel()
	waiting.Wait()
	require.Less(f, took, soon, "Settle waits for Receive")
	require.Empty(f, payloads(stray), "delivered again")
}

func settleDead(f *fixture) {
	r := f.open()
	keeper, ok := r.src.(consumer.DeadKeeper)
	if !ok {
		f.Skip("the source is no consumer.DeadKeeper")
	}
	f.need(f.Dead != nil, "Dead")
	require.NotEmpty(f, keeper.KeepsDead())
	f.publish("bad", 2)
	f.publish("good", 1)
	raws := r.receive(3)
	failed := &consumer.PanicError{Value: "it is bad", Stack: []byte("here")}
	outcomes := []consumer.Outcome{
		{Raw: &raws[0], Kind: consumer.Dead, Err: errors.New("it is bad")}, {Raw: &raws[1], Kind: consumer.Dead, Err: failed}, {Raw: &raws[2]},
	}
	for range 2 {
		r.settle(outcomes...)
	}
	r.nothing(calm)
	r.successor().nothing(calm)
	var kept []string
	for _, p := range f.Dead() {
		kept = append(kept, string(p))
	}
	require.ElementsMatch(f, []string{"bad 0", "bad 1"}, kept, "dead letters")
}

func successorUnsettled(f *fixture) {
	if f.AtMostOnce {
		f.Skip("messages end with their source")
	}
	r := f.open()
	f.publish("m", 5)
	raws := r.receive(5)
	r.settle(all(raws[:2], consumer.Ack, 0)...)
	next := r.successor()
	f.publish("new", 2)
	var held []consumer.Raw
	for _, m := range next.receive(5) {
		if string(m.Payload[0]) == "m" {
			held = append(held, m)
		}
	}
	f.same(raws[2:], held, 0)
}

func successorAttempts(f *fixture) {
	if f.AtMostOnce {
		f.Skip("messages end with their source")
	}
	r := f.open()
	f.publish("m", 2)
	raws := r.receive(2)
	r.settle(all(raws, consumer.Retry, 0)...)
	f.same(raws, r.successor().receive(2), 1)
}
