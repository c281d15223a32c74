package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// transition is a message about an alert, n seconds after a time an hour ago.
func transition(base time.Time, n int, name string, resolved bool) store.Message {
	m := beat("geocoding", "host-1", int64(n), 0)
	m.ID, m.At, m.Status = fmt.Sprint(name, "/", n), base.Add(time.Duration(n)*time.Second), ""
	m.Alert = &store.AlertChange{Name: name, Severity: fmt.Sprint("severity-", n%3), Message: fmt.Sprint("message ", n), Resolved: resolved}
	return m
}

func hourAgo() time.Time { return thisMinute().Add(-time.Hour) }

// alertModel is what transitions in the order of time lead to, in the simplest form.
type alertModel []store.Alert

func (m *alertModel) apply(msg store.Message) {
	open := slices.IndexFunc(*m, func(a store.Alert) bool { return a.Name == msg.Alert.Name && a.Open() })
	switch {
	case msg.Alert.Resolved && open >= 0:
		(*m)[open].ResolvedAt = msg.At
	case msg.Alert.Resolved:
	case open >= 0:
		a := &(*m)[open]
		a.Raises++
		a.LastRaisedAt, a.Severity, a.Message = msg.At, msg.Alert.Severity, msg.Alert.Message
	default:
		*m = append(*m, store.Alert{
			Fingerprint: store.Fingerprint(msg.Service, msg.Instance, msg.Alert.Name), Service: msg.Service, Instance: msg.Instance,
			Name: msg.Alert.Name, Severity: msg.Alert.Severity, Message: msg.Alert.Message, RaisedAt: msg.At, LastRaisedAt: msg.At, Raises: 1,
		})
	}
}

func (m alertModel) newestFirst() []store.Alert {
	all := slices.Clone([]store.Alert(m))
	slices.SortFunc(all, func(a, b store.Alert) int { return b.RaisedAt.Compare(a.RaisedAt) })
	return all
}

// withoutIDs is what the model knows.
func withoutIDs(alerts []store.Alert) []store.Alert {
	alerts = slices.Clone(alerts)
	for i := range alerts {
		alerts[i].ID = 0
	}
	return alerts
}

func alertsModel(t healthFixture) {
	base, m := hourAgo(), alertModel{}
	for n := 0; n < 300; {
		var batch []store.Message
		for range 1 + rand.IntN(20) {
			n++
			msg := transition(base, n, fmt.Sprint("alert-", rand.IntN(4)), rand.IntN(3) == 0)
			m.apply(msg)
			batch = append(batch, msg)
		}
		require.Equal(t, len(batch), t.record(shuffled(batch)...))
	}
	require.Equal(t, m.newestFirst(), withoutIDs(t.alerts(store.AlertQuery{})))
}

// alertsAnyOrder delivers transitions in any order, again and again: the newest one says whether an alert is open, and each
// raise counts once.
func alertsAnyOrder(t healthFixture) {
	base := hourAgo()
	for round := range 30 {
		name := fmt.Sprint("alert-", round)
		var msgs []store.Message
		raises := int64(0)
		for n := range 1 + rand.IntN(8) {
			msgs = append(msgs, transition(base, n, name, rand.IntN(2) == 0))
			if !msgs[n].Alert.Resolved {
				raises++
			}
		}
		for range 2 {
			for batch := range slices.Chunk(shuffled(msgs), 1+rand.IntN(3)) {
				t.record(batch...)
			}
		}
		got := t.alerts(store.AlertQuery{Fingerprint: store.Fingerprint("geocoding", "host-1", name)})
		open, counted := 0, int64(0)
		for _, a := range got {
			counted += a.Raises
			if a.Open() {
				open++
			}
			require.Positive(t, a.Raises)
			require.False(t, a.LastRaisedAt.Before(a.RaisedAt))
		}
		want := 1
		if msgs[len(msgs)-1].Alert.Resolved {
			want = 0
		}
		require.Equal(t, want, open, "%v", got)
		require.Equal(t, raises, counted, "%v", got)
	}
}

// alertsRaces raises and resolves the same alerts from many sides, by messages and by calls.
func alertsRaces(t healthFixture) {
	const alerts, writers, rounds = 3, 6, 15
	base := hourAgo()
	var wg sync.WaitGroup
	var opened atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				n := 10*i + w
				name := fmt.Sprint("alert-", rand.IntN(alerts))
				a := store.Alert{Service: "geocoding", Instance: "host-1", Name: name, RaisedAt: base.Add(time.Duration(n) * time.Second)}
				var err error
				switch w % 3 {
				case 0:
					_, err = t.Record(t.Context(), []store.Message{transition(base, n, name, false), transition(base, n+1, fmt.Sprint("alert-", rand.IntN(alerts)), true)})
				case 1:
					_, err = t.health.RaiseAlert(t.Context(), a)
				default:
					_, err = t.health.ResolveAlert(t.Context(), store.Fingerprint("geocoding", "host-1", name), "", a.RaisedAt)
				}
				assert.NoError(t, err)
			}
			for i := range alerts {
				first, err := t.health.RaiseAlert(t.Context(), store.Alert{Service: "s", Name: fmt.Sprint(i), RaisedAt: base})
				assert.NoError(t, err)
				if first {
					opened.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, alerts, opened.Load(), "one call opened each")
	seen := map[string]int{}
	for _, a := range t.alerts(store.AlertQuery{Open: true}) {
		seen[a.Fingerprint]++
		require.Equal(t, 1, seen[a.Fingerprint])
	}
}

func alertsReplay(t healthFixture) {
	base := hourAgo()
	var msgs []store.Message
	for n := range 200 {
		msgs = append(msgs, transition(base, n, "disk", false))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for batch := range slices.Chunk(shuffled(msgs), 1+rand.IntN(50)) {
				_, err := t.Record(t.Context(), batch)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	got := t.alerts(store.AlertQuery{})
	require.Len(t, got, 1)
	require.EqualValues(t, 200, got[0].Raises)
	require.Equal(t, base, got[0].RaisedAt)
	require.Equal(t, msgs[199].At, got[0].LastRaisedAt)
	require.Equal(t, "message 199", got[0].Message)
}

// alertsFirst has several writers raise an alert that isn't open yet, each by a large batch: all of them count.
func alertsFirst(t healthFixture) {
	const rounds, writers = 15, 4
	base := hourAgo()
	for round := range rounds {
		var start, wg sync.WaitGroup
		start.Add(1)
		for w := range writers {
			msgs := beats(120)
			for i := range msgs {
				msgs[i].ID = fmt.Sprintf("%d/%d/%d", round, w, i)
				msgs[i].Status = "" // writers that have no status in common wait for nothing else
			}
			msgs = append(msgs, transition(base, 10*round+w, fmt.Sprint("alert-", round), false))
			wg.Go(func() {
				start.Wait()
				_, err := t.Record(t.Context(), msgs)
				assert.NoError(t, err)
			})
		}
		start.Done()
		wg.Wait()
	}
	got := t.alerts(store.AlertQuery{Open: true})
	require.Len(t, got, rounds)
	for _, a := range got {
		require.EqualValues(t, writers, a.Raises, a.Name)
	}
}

func alertsCalls(t healthFixture) {
	ctx, base := t.Context(), hourAgo()
	a := store.Alert{Service: "geocoding", Name: "disk", Severity: "warning", Message: "90 %", RaisedAt: base}
	for i := range 3 {
		opened, err := t.health.RaiseAlert(ctx, a)
		require.NoError(t, err)
		require.Equal(t, i == 0, opened)
	}
	fingerprint := store.Fingerprint("geocoding", "", "disk")
	require.EqualValues(t, 1, t.alerts(store.AlertQuery{})[0].Raises)
	a.RaisedAt, a.Severity = base.Add(time.Minute), "critical"
	_, err := t.health.RaiseAlert(ctx, a)
	require.NoError(t, err)

	resolved, err := t.health.ResolveAlert(ctx, fingerprint, "ann", base.Add(time.Second))
	require.NoError(t, err)
	require.False(t, resolved, "it was raised again after that")
	resolved, err = t.health.ResolveAlert(ctx, fingerprint, "ann", base.Add(2*time.Minute))
	require.NoError(t, err)
	require.True(t, resolved)
	resolved, err = t.health.ResolveAlert(ctx, fingerprint, "bob", time.Time{})
	require.NoError(t, err)
	require.False(t, resolved)
	opened, err := t.health.RaiseAlert(ctx, a)
	require.NoError(t, err)
	require.False(t, opened, "that time belongs to the episode that is over")

	a.RaisedAt = time.Time{} // now
	opened, err = t.health.RaiseAlert(ctx, a)
	require.NoError(t, err)
	require.True(t, opened)
	got := t.alerts(store.AlertQuery{})
	require.Len(t, got, 2)
	require.WithinDuration(t, time.Now(), got[0].RaisedAt, time.Hour)
	require.Equal(t, store.Alert{
		ID: got[1].ID, Fingerprint: fingerprint, Service: "geocoding", Name: "disk", Severity: "critical", Message: "90 %", RaisedAt: base,
		LastRaisedAt: base.Add(time.Minute), Raises: 2, ResolvedAt: base.Add(2 * time.Minute), ResolvedBy: "ann",
	}, got[1])
}

func alertsAcknowledge(t healthFixture) {
	ctx := t.Context()
	_, err := t.health.RaiseAlert(ctx, store.Alert{Fingerprint: "f", Service: "s", RaisedAt: hourAgo()})
	require.NoError(t, err)
	for _, by := range []string{"ann", "bob"} {
		open, err := t.health.AcknowledgeAlert(ctx, "f", by)
		require.NoError(t, err)
		require.True(t, open)
	}
	got := t.alerts(store.AlertQuery{Open: true})[0]
	require.Equal(t, "ann", got.AcknowledgedBy)
	require.WithinDuration(t, time.Now(), got.AcknowledgedAt, time.Hour)
	_, err = t.health.ResolveAlert(ctx, "f", "ann", time.Time{})
	require.NoError(t, err)
	open, err := t.health.AcknowledgeAlert(ctx, "f", "ann")
	require.NoError(t, err)
	require.False(t, open)
}

func alertsBad(t healthFixture) {
	ctx := t.Context()
	for name, a := range map[string]store.Alert{
		"no name": {Service: "s"}, "NUL": {Name: "\x00"}, "not UTF-8": {Name: "n", Severity: "\xff"}, "long": {Name: strings.Repeat("x", store.MaxNameBytes+1)},
		"message": {Name: "n", Message: "\xff"}, "old": {Name: "n", RaisedAt: time.Unix(0, 0)}, "future": {Name: "n", RaisedAt: time.Now().Add(48 * time.Hour)},
	} {
		_, err := t.health.RaiseAlert(ctx, a)
		require.Error(t, err, name)
		require.False(t, store.IsTransient(err), name)
	}
	for _, fingerprint := range []string{"", "\x00", "\xff", strings.Repeat("x", store.MaxNameBytes+1)} {
		_, err := t.health.ResolveAlert(ctx, fingerprint, "", time.Time{})
		require.Error(t, err)
		_, err = t.health.AcknowledgeAlert(ctx, fingerprint, "")
		require.Error(t, err)
	}
	_, err := t.health.ResolveAlert(ctx, "f", "\x00", time.Time{})
	require.Error(t, err)
	_, err = t.health.ResolveAlert(ctx, "f", "", time.Unix(0, 0))
	require.Error(t, err)
	require.Empty(t, t.alerts(store.AlertQuery{}))

	long := store.Alert{Name: "n", Message: strings.Repeat("ü", store.MaxAlertBytes)}
	_, err = t.health.RaiseAlert(ctx, long)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ü", store.MaxAlertBytes/2), t.alerts(store.AlertQuery{})[0].Message)
}

// manyAlerts are n episodes, every third one open.
func (t healthFixture) manyAlerts(n int) []store.Alert {
	base, m := hourAgo(), alertModel{}
	var msgs []store.Message
	for i := range n {
		raised := transition(base, i/3, fmt.Sprint("alert-", i), false) // three at each time
		raised.Service = fmt.Sprint("service-", i%2)
		msgs = append(msgs, raised)
		if i%3 > 0 {
			resolved := transition(base, i/3+60, raised.Alert.Name, true)
			resolved.Service = raised.Service
			msgs = append(msgs, resolved)
		}
	}
	slices.SortStableFunc(msgs, func(a, b store.Message) int { return a.At.Compare(b.At) })
	for _, msg := range msgs {
		m.apply(msg)
	}
	t.record(msgs...)
	all := t.alerts(store.AlertQuery{})
	require.ElementsMatch(t, m, withoutIDs(all))
	require.True(t, slices.IsSortedFunc(all, func(a, b store.Alert) int { return b.RaisedAt.Compare(a.RaisedAt) }))
	return all
}

func alertsChoose(t healthFixture) {
	all := t.manyAlerts(90)
	from, to := all[70].RaisedAt, all[20].RaisedAt
	for name, c := range map[string]struct {
		query store.AlertQuery
		want  func(store.Alert) bool
	}{
		"all":         {store.AlertQuery{}, func(store.Alert) bool { return true }},
		"open":        {store.AlertQuery{Open: true}, store.Alert.Open},
		"severity":    {store.AlertQuery{Severity: "severity-1"}, func(a store.Alert) bool { return a.Severity == "severity-1" }},
		"service":     {store.AlertQuery{Service: "service-1"}, func(a store.Alert) bool { return a.Service == "service-1" }},
		"fingerprint": {store.AlertQuery{Fingerprint: all[5].Fingerprint}, func(a store.Alert) bool { return a.ID == all[5].ID }},
		"range": {store.AlertQuery{From: from, To: to}, func(a store.Alert) bool {
			return !a.RaisedAt.Before(from) && a.RaisedAt.Before(to)
		}},
		"all of it": {store.AlertQuery{Open: true, Service: "service-0", Severity: "severity-2", From: from}, func(a store.Alert) bool {
			return a.Open() && a.Service == "service-0" && a.Severity == "severity-2" && !a.RaisedAt.Before(from)
		}},
		"nobody's": {store.AlertQuery{Service: "nobody"}, func(store.Alert) bool { return false }},
	} {
		var want []store.Alert
		for _, a := range all {
			if c.want(a) {
				want = append(want, a)
			}
		}
		for _, limit := range []int{1, 7, 1000} {
			c.query.Limit = limit
			require.Equal(t, want, t.alerts(c.query), "%s, by %d", name, limit)
		}
	}
}

func alertsPages(t healthFixture) {
	all := t.manyAlerts(60)
	q := store.AlertQuery{Limit: 7}
	var got []store.Alert
	for i := 0; ; i++ {
		page, err := t.health.Alerts(t.Context(), q)
		require.NoError(t, err)
		got = append(got, page.Alerts...)
		if page.Next == nil {
			break
		}
		q.After = page.Next
		_, err = t.health.RaiseAlert(t.Context(), store.Alert{Service: "newer", Name: fmt.Sprint(i)})
		require.NoError(t, err)
	}
	require.Equal(t, all, got)
}
