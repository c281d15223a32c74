package consumertest

import (
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
)

// leaser opens a source that lends its messages, or skips the test.
func (f *fixture) leaser() (*reader, consumer.Leaser) {
	f.Helper()
	r := f.open()
	l, ok := r.src.(consumer.Leaser)
	if !ok {
		f.Skip("the source is no consumer.Leaser")
	}
	require.Positive(f, l.Lease())
	return r, l
}

func (r *reader) extend(l consumer.Leaser) (lost []string) {
	r.f.Helper()
	var err error
	r.call("Extend", r.f.Patience, func(ctx context.Context) { lost, err = l.Extend(ctx) })
	require.NoError(r.f, err, "of Extend")
	return lost
}

func leaseExtended(f *fixture) {
	r, l := f.leaser()
	f.publish("m", 3)
	raws := r.receive(3)
	other := f.open()
	for end := time.Now().Add(2 * l.Lease()); time.Now().Before(end); {
		require.Empty(f, r.extend(l), "lost, although it was extended in time")
		other.nothing(l.Lease() / 4)
	}
	r.settle(all(raws, consumer.Ack, 0)...)
	other.nothing(calm)
	require.Empty(f, r.extend(l), "nothing is held any more")
}

func leaseLost(f *fixture) {
	r, l := f.leaser()
	f.publish("m", 3)
	raws := r.receive(3)
	other := f.open()
	taken := other.receive(3) // when the leases are over
	f.same(raws, taken, 0)
	lost := r.extend(l)
	slices.Sort(lost)
	want := []string{raws[0].ID, raws[1].ID, raws[2].ID}
	slices.Sort(want)
	require.Equal(f, want, lost, "Extend tells what somebody else was given")
	// What the first one has to say comes too late.
	r.settle(consumer.Outcome{Raw: &raws[0], Kind: consumer.Retry}, consumer.Outcome{Raw: &raws[1], Kind: consumer.Release})
	r.nothing(calm)
	require.Empty(f, other.extend(other.src.(consumer.Leaser)), "the first one took back what it had lost")
	other.settle(all(taken, consumer.Retry, 0)...)
	f.same(taken, other.receive(3), 1)
}

func brokenBroker(f *fixture) {
	f.need(f.Break != nil, "Break")
	r := f.open()
	f.publish("m", 4)
	raws := r.receive(4)
	mend := f.Break()
	r.broken = true
	require.Empty(f, r.once(calm, plenty), "received over a broken connection")
	err := r.trySettle(calm, all(raws[:2], consumer.Ack, 0)...)
	mend()
	if err != nil {
		r.settleUntilStored(all(raws[:2], consumer.Ack, 0)...)
	}
	r.settleUntilStored(all(raws[2:], consumer.Retry, 0)...)
	again := r.receive(2)
	f.same(raws[2:], again, 1)
	if f.AtMostOnce {
		return // it may not listen again yet
	}
	f.publish("later", 2)
	later := r.receive(2)
	require.ElementsMatch(f, []string{"later 0", "later 1"}, payloads(later))
	r.settle(all(append(again, later...), consumer.Ack, 0)...)
	next := r.successor()
	next.nothing(next.rest())
}

func lostSettle(f *fixture) {
	f.need(f.LoseReplies != nil, "LoseReplies")
	r := f.open()
	f.publish("m", 4)
	raws := r.receive(4)
	outcomes := append(all(raws[:2], consumer.Retry, 0), all(raws[2:], consumer.Ack, 0)...)
	mend := f.LoseReplies()
	_ = r.trySettle(calm, outcomes...)
	mend()
	r.broken = true
	r.settleUntilStored(outcomes...)
	f.same(raws[:2], r.receive(2), 1)
	r.nothing(calm)
}

func lostReceive(f *fixture) {
	f.need(f.LoseReplies != nil, "LoseReplies")
	r := f.open()
	f.publish("before", 1)
	r.settle(all(r.receive(1), consumer.Ack, 0)...)
	mend := f.LoseReplies()
	f.publish("m", 3)
	r.broken = true
	early := r.once(calm, plenty)
	mend()
	late := r.receive(3 - len(early)) // perhaps when a lease is over
	require.ElementsMatch(f, []string{"m 0", "m 1", "m 2"}, payloads(append(early, late...)))
	for _, m := range late {
		require.Equal(f, 1, m.Attempt, "nobody has tried %s", m.Payload)
	}
}

func trimmedHeld(f *fixture) {
	f.need(f.Trim != nil, "Trim")
	r := f.open()
	f.publish("m", 3)
	raws := r.receive(3)
	f.Trim()
	r.settle(
		consumer.Outcome{Raw: &raws[0], Kind: consumer.Ack}, consumer.Outcome{Raw: &raws[1], Kind: consumer.Retry},
		consumer.Outcome{Raw: &raws[2], Kind: consumer.Release},
	)
	f.publish("new", 2)
	var fresh, again []string
	for end := time.Now().Add(2 * calm); len(fresh) < 2 || time.Now().Before(end); {
		require.Less(f, time.Since(end), f.Patience, "what was published after the trim is not delivered")
		for _, p := range payloads(r.once(calm, plenty)) {
			if p[:1] == "n" {
				fresh = append(fresh, p)
			} else {
				again = append(again, p)
			}
		}
	}
	require.ElementsMatch(f, []string{"new 0", "new 1"}, fresh)
	if c, ok := r.src.(consumer.LossCounter); ok {
		lost := c.Lost()
		require.EqualValues(f, 2, int(lost)+len(again), "%d are delivered again, %d counted as lost", len(again), lost)
	}
}

func evicted(f *fixture) {
	f.need(f.Evict != nil, "Evict")
	r := f.open()
	f.publish("m", 3)
	raws := r.receive(3)
	f.Evict()
	r.broken = true
	r.settleUntilStored(append(all(raws[:2], consumer.Ack, 0), all(raws[2:], consumer.Retry, 0)...)...)
	f.publish("new", 2)
	got := map[string]bool{}
	for deadline := time.Now().Add(f.Patience); !got["new 0"] || !got["new 1"]; {
		require.True(f, time.Now().Before(deadline), "what was published after the eviction is not delivered")
		for _, p := range payloads(r.once(calm, plenty)) {
			got[p] = true
		}
	}
}

func clockJump(f *fixture) {
	f.need(f.Jump != nil, "Jump")
	r := f.open()
	f.publish("m", 2)
	before := r.receive(2)
	f.Jump()
	f.publish("later", 2)
	after := r.receive(2)
	both := slices.Concat(before, after)
	settled := time.Now()
	r.settle(all(both, consumer.Retry, pause)...)
	again := r.receive(4)
	require.GreaterOrEqual(f, time.Since(settled), pause, "delivered again before Outcome.After was over")
	f.same(both, again, 1)
	r.settle(all(again, consumer.Ack, 0)...)
	r.nothing(calm)
}
