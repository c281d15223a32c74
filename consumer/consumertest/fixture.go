package consumertest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

const (
	// soon is how long a source may take to heed its context: the consumer's shutdown waits no longer.
	soon = 2 * time.Second
	// calm is for how long nothing must come that must not come at all.
	calm = 200 * time.Millisecond
	// pause is an Outcome.After.
	pause = 250 * time.Millisecond
)

var plenty = consumer.Credit{Count: 1000, Bytes: 1 << 30}

// fixture is one test of the suite.
type fixture struct {
	testing.TB
	Harness
}

func newFixture(tb testing.TB, h Harness) *fixture {
	tb.Helper()
	if h.Patience == 0 {
		h.Patience = 20 * time.Second
	}
	return &fixture{TB: tb, Harness: h}
}

// need skips the test for which the harness has no hook.
func (f *fixture) need(there bool, what string) {
	f.Helper()
	if !there {
		f.Skipf("the harness has no %s", what)
	}
}

// publish publishes n messages of one small payload each, beginning with what.
func (f *fixture) publish(what string, n int) (payloads []string) {
	f.Helper()
	var raw [][]byte
	for i := range n {
		payloads = append(payloads, what+" "+strconv.Itoa(i))
		raw = append(raw, []byte(payloads[i]))
	}
	f.Publish(raw...)
	return payloads
}

// reader is a source as the tests use it.
type reader struct {
	f      *fixture
	src    consumer.Source
	broken bool // errors are expected
	closed bool
}

func (f *fixture) open() *reader {
	f.Helper()
	src := f.Open()
	p, ok := src.(consumer.Parallel)
	require.True(f, !ok || p.Readers() == 1, "Open has to return a source with one reader")
	return f.opened(src)
}

func (f *fixture) opened(src consumer.Source) *reader {
	f.Helper()
	r := &reader{f: f, src: src}
	f.Cleanup(func() { _ = r.close() })
	return r
}

func (r *reader) close() error {
	c, ok := r.src.(consumer.Closer)
	if !ok || r.closed {
		return nil
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	return c.Close(ctx)
}

// successor is the source of a process that starts when r's has ended; r itself where a source is all there is.
func (r *reader) successor() *reader {
	r.f.Helper()
	if r.f.AtMostOnce {
		return r
	}
	require.NoError(r.f, r.close())
	return r.f.open()
}

// call runs f, and fails the test if that takes longer than d and the time to notice that it is over.
func (r *reader) call(what string, d time.Duration, call func(context.Context)) {
	r.f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call(ctx)
	}()
	late := time.NewTimer(d + soon)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		r.f.Fatalf("%s did not heed that its context ended: it still runs after %v", what, soon)
	}
}

// once calls Receive, for d at most.
func (r *reader) once(d time.Duration, credit consumer.Credit) (raws []consumer.Raw) {
	r.f.Helper()
	var err error
	r.call("Receive", d, func(ctx context.Context) {
		if raws, err = r.src.Receive(ctx, credit); ctx.Err() != nil {
			err = nil
		}
	})
	if !r.broken {
		require.NoError(r.f, err, "of Receive")
	} else if err != nil {
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the consumer waits, too
	}
	require.LessOrEqual(r.f, len(raws), credit.Count, "messages of one Receive")
	return raws
}

// receive returns the next n messages.
func (r *reader) receive(n int) (raws []consumer.Raw) {
	r.f.Helper()
	deadline := time.Now().Add(r.f.Patience)
	for len(raws) < n {
		left := time.Until(deadline)
		require.Positive(r.f, left, "received %d messages of %d, and then nothing more: %q", len(raws), n, payloads(raws))
		raws = append(raws, r.once(left, plenty)...)
	}
	require.Len(r.f, raws, n, "%q", payloads(raws))
	return raws
}

// nothing fails the test if a message comes within d.
func (r *reader) nothing(d time.Duration) {
	r.f.Helper()
	for end := time.Now().Add(d); time.Until(end) > 0; {
		raws := r.once(time.Until(end), plenty)
		require.Empty(r.f, payloads(raws), "nothing is to be delivered")
	}
}

// rest is for how long nothing must come: if messages are lent, until all leases are over that may still be held.
func (r *reader) rest() time.Duration {
	if l, ok := r.src.(consumer.Leaser); ok {
		return l.Lease() * 3 / 2
	}
	return calm
}

func (r *reader) settle(outcomes ...consumer.Outcome) {
	r.f.Helper()
	require.NoError(r.f, r.trySettle(r.f.Patience, outcomes...), "of Settle")
}

func (r *reader) trySettle(d time.Duration, outcomes ...consumer.Outcome) (err error) {
	r.f.Helper()
	r.call("Settle", d, func(ctx context.Context) { err = r.src.Settle(ctx, outcomes) })
	return err
}

// settleUntilStored does as the consumer does.
func (r *reader) settleUntilStored(outcomes ...consumer.Outcome) {
	r.f.Helper()
	deadline := time.Now().Add(r.f.Patience)
	for err := r.trySettle(soon, outcomes...); err != nil; err = r.trySettle(soon, outcomes...) {
		require.Positive(r.f, time.Until(deadline), "Settle goes on to fail: %v", err)
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the consumer waits, too
	}
}

// all is the same outcome for each of raws.
func all(raws []consumer.Raw, kind consumer.Kind, after time.Duration) (outcomes []consumer.Outcome) {
	for i := range raws {
		outcomes = append(outcomes, consumer.Outcome{Raw: &raws[i], Kind: kind, After: after})
	}
	return outcomes
}

func payloads(raws []consumer.Raw) []string {
	all := make([]string, 0, len(raws))
	for _, r := range raws {
		all = append(all, string(r.Payload[:min(len(r.Payload), 100)]))
	}
	return all
}

// same fails the test unless again are the same messages as before, in whatever order, with so many attempts more.
func (f *fixture) same(before, again []consumer.Raw, more int) {
	f.Helper()
	byID := map[string]consumer.Raw{}
	for _, m := range before {
		byID[m.ID] = m
	}
	for _, m := range again {
		was, known := byID[m.ID]
		require.True(f, known, "a message has ID %q when it is delivered again, which none had before", m.ID)
		require.Equal(f, string(was.Payload), string(m.Payload), "payload of %s", m.ID)
		require.True(f, was.At.Equal(m.At), "At of %s was %v and is %v", m.ID, was.At, m.At)
		require.Equal(f, was.Attempt+more, m.Attempt, "attempt of %s", m.ID)
		delete(byID, m.ID)
	}
	require.Empty(f, byID, "not delivered again")
}
