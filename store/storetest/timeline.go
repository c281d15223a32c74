package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// timeline reads all pages and calls between after each.
func (t healthFixture) timeline(q store.TimelineQuery, between func()) []store.Event {
	t.Helper()
	var all []store.Event
	for {
		page, err := t.health.Timeline(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Events...)
		require.Less(t, len(all), 10_000, "pages without end")
		if page.Next == nil {
			return all
		}
		require.Len(t, page.Events, q.Limit)
		q.After = page.Next
		between()
	}
}

// eventKey tells events apart; they are ordered by it.
type eventKey struct {
	at   time.Time
	kind int
	id   string
}

func keyOf(e store.Event) eventKey {
	k := eventKey{at: e.At, kind: slices.Index([]store.EventKind{store.EventMessage, store.EventState, store.EventRaised, store.EventResolved}, e.Kind)}
	switch e.Kind {
	case store.EventMessage:
		k.id = e.Message.ID
	case store.EventState:
		k.id = e.State.Instance
	default:
		k.id = fmt.Sprintf("%019d", e.Alert.ID)
	}
	return k
}

func keysOf(events []store.Event) []eventKey {
	keys := make([]eventKey, len(events))
	for i, e := range events {
		keys[i] = keyOf(e)
	}
	return keys
}

// eventful records much that happens to the services s and other at the same times, and returns what happened to s, newest first.
func (t healthFixture) eventful(base time.Time, seconds int) []eventKey {
	var msgs []store.Message
	var changes []store.UptimeChange
	var want []eventKey
	raised := 0
	for n := range seconds {
		at := base.Add(time.Duration(n) * time.Second)
		for i := range 3 {
			m := beat([]string{"s", "s", "other"}[i], "host-1", int64(n), 0)
			m.ID, m.At = fmt.Sprint(n, "/", i), at
			if i == 0 && n%4 == 0 {
				raised++
				m.Alert = &store.AlertChange{Name: fmt.Sprint("alert-", n/8), Resolved: n%8 == 4}
			}
			msgs = append(msgs, m)
			if m.Service == "s" {
				want = append(want, eventKey{at, 0, m.ID})
			}
		}
		c := seen(fmt.Sprint("i", n%2), uptimeStates[n/2%2], base, n)
		again := seen(c.Instance, c.State, base, n)
		again.At = again.At.Add(time.Millisecond) // says what is known
		changes = append(changes, c, again)
		want = append(want, eventKey{at, 1, c.Instance})
	}
	t.record(shuffled(msgs)...)
	_, err := t.health.RecordUptime(t.Context(), changes)
	require.NoError(t, err)
	for _, a := range t.alerts(store.AlertQuery{Service: "s"}) {
		want = append(want, eventKey{a.RaisedAt, 2, fmt.Sprintf("%019d", a.ID)})
		raised--
		if !a.Open() {
			want = append(want, eventKey{a.ResolvedAt, 3, fmt.Sprintf("%019d", a.ID)})
			raised--
		}
	}
	require.Zero(t, raised)
	slices.SortFunc(want, func(a, b eventKey) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.kind, a.kind), cmp.Compare(b.id, a.id))
	})
	return want
}

// timelineOracle reads pages of any size, before, while and after the log is summed up, which the messages are found by.
func timelineOracle(t healthFixture) {
	base := hourAgo()
	want := t.eventful(base, 120)
	for _, maintain := range []bool{false, true} {
		if maintain {
			t.maintain()
		}
		for _, limit := range []int{5 + rand.IntN(5), 99, len(want) - 1, len(want), len(want) + 1} {
			require.Equal(t, want, keysOf(t.timeline(store.TimelineQuery{Service: "s", Limit: limit}, func() {})), "limit %d", limit)
		}
		q := store.TimelineQuery{Service: "s", From: base.Add(20 * time.Second), To: base.Add(70 * time.Second), Limit: 13}
		var part []eventKey
		for _, k := range want {
			if !k.at.Before(q.From) && k.at.Before(q.To) {
				part = append(part, k)
			}
		}
		require.Equal(t, part, keysOf(t.timeline(q, func() {})))
	}
	got, err := t.health.Timeline(t.Context(), store.TimelineQuery{Service: "s", Limit: 1000})
	require.NoError(t, err)
	for _, e := range got.Events {
		require.Equal(t, []bool{e.Kind == store.EventMessage, e.Kind == store.EventState, e.Kind == store.EventRaised || e.Kind == store.EventResolved},
			[]bool{e.Message != nil, e.State != nil, e.Alert != nil})
		if e.Message != nil {
			require.Equal(t, "s", e.Message.Service)
			require.NotEmpty(t, e.Message.Payload)
		}
	}
}

// timelineStable writes newer messages, and sums the log up, between the pages.
func timelineStable(t healthFixture) {
	want := t.eventful(hourAgo(), 60)
	i := 0
	got := t.timeline(store.TimelineQuery{Service: "s", Limit: 9}, func() {
		i++
		t.record(beat("s", "newer", int64(i), 0), beat("other", "newer", int64(i), 0))
		if i%3 == 0 {
			t.maintain()
		}
	})
	require.Equal(t, want, keysOf(got))
}

// timelineRare looks for a few messages among many of others, some summed up and some not, in far apart minutes of several days.
func timelineRare(t healthFixture) {
	var msgs, want []store.Message
	for n := range 12 {
		rare := beat("rare", "host-1", int64(n), time.Duration(n)*17*time.Hour)
		want, msgs = append(want, rare), append(msgs, rare)
		for i := range 50 {
			busy := beat("busy", "host-1", int64(100*n+i), 0)
			busy.At = rare.At.Add(time.Duration(i-25) * time.Second)
			msgs = append(msgs, busy)
		}
	}
	mixed := shuffled(msgs)
	t.record(mixed[:len(mixed)/2]...)
	t.maintain()
	t.record(mixed[len(mixed)/2:]...)
	for n := range 60 { // an hour that isn't summed up and has none of them, but for its end
		t.record(beat("busy", "host-2", int64(n), time.Duration(n)*time.Minute))
	}
	for _, limit := range []int{3, 100} {
		require.Equal(t, newestFirst(want), t.pages(store.MessageQuery{Service: "rare", Limit: limit}, func() {}))
		require.Len(t, t.timeline(store.TimelineQuery{Service: "rare", Limit: limit}, func() {}), len(want))
	}
	require.Empty(t, t.timeline(store.TimelineQuery{Service: "nobody"}, func() {}))
}
