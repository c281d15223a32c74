package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// timed is a message of the service with a latency, n seconds after base.
func timed(service string, base time.Time, n int, latency float64) store.Message {
	m := beat(service, "host-1", int64(n), 0)
	m.At = base.Add(time.Duration(n) * time.Second)
	m.Payload = json.RawMessage(fmt.Sprintf(`{"latency_ms":%g,"heartbeat_count":%d,"nested":{"latency_ms":1}}`, latency, n))
	return m
}

// sum is the answer to a query without a step.
func (t healthFixture) sum(q store.MetricQuery) store.Rollup {
	t.Helper()
	all := t.metric(q).Rollups
	require.Len(t, all, 1)
	return all[0]
}

func metricPercentiles(t healthFixture) {
	base := hourAgo()
	var msgs []store.Message
	of := map[string][]float64{}
	for n := range 1500 {
		service := fmt.Sprint("service-", n%2)
		latency := math.Exp(rand.NormFloat64()*1.5 + 3)
		msgs = append(msgs, timed(service, base, n, latency))
		of[service], of[""] = append(of[service], latency), append(of[""], latency)
	}
	t.record(shuffled(msgs)...)
	t.maintain()
	for service, want := range of {
		r := t.sum(store.MetricQuery{Service: service, Metric: "latency_ms", From: base, To: base.Add(30 * time.Minute)})
		slices.Sort(want)
		require.EqualValues(t, len(want), r.Count)
		require.InEpsilon(t, want[0], r.Min, 1e-9)
		require.InEpsilon(t, want[len(want)-1], r.Max, 1e-9)
		for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999} {
			exact := want[int(math.Ceil(q*float64(len(want))))-1]
			require.InEpsilon(t, exact, r.Quantile(q), 0.04, "quantile %g of %q", q, service)
		}
	}
	messages := t.sum(store.MetricQuery{Metric: store.MetricMessages, From: base, To: base.Add(30 * time.Minute)})
	require.EqualValues(t, 1500, messages.Count)
	require.Empty(t, t.metric(store.MetricQuery{Metric: "heartbeat_count", From: base}).Rollups)
	require.Empty(t, t.metric(store.MetricQuery{Service: "nobody", Metric: "latency_ms", From: base}).Rollups)
}

// metricReplay sums up again and again, with replays and late rows in between.
func metricReplay(t healthFixture) {
	base := hourAgo()
	var msgs []store.Message
	for n := range 300 {
		msgs = append(msgs, timed("s", base, n, float64(n)))
	}
	q := store.MetricQuery{Service: "s", Metric: "latency_ms", From: base, To: base.Add(10 * time.Minute)}
	mixed := shuffled(msgs)
	for i := 0; i < len(mixed); i += 60 {
		t.record(mixed[:i+60]...)
		t.maintain()
		t.maintain()
		require.EqualValues(t, i+60, t.sum(q).Count)
	}
	r := t.sum(q)
	require.Equal(t, []float64{0, 299, 299 * 150}, []float64{r.Min, r.Max, r.Sum})
}

func metricSteps(t healthFixture) {
	base := hourAgo().Truncate(10 * time.Minute)
	var msgs []store.Message
	for n := range 20 * 60 {
		if n/60 != 7 { // a minute without messages
			msgs = append(msgs, timed("s", base, n, float64(n/60)))
		}
	}
	t.record(msgs...)
	t.maintain()
	q := store.MetricQuery{Service: "s", Metric: "latency_ms", From: base.Add(30 * time.Second), To: base.Add(19*time.Minute + time.Second), Step: time.Minute}
	got := t.metric(q).Rollups
	require.Len(t, got, 19, "whole minutes, without the empty one")
	for i, r := range got {
		minute := i
		if i >= 7 {
			minute++
		}
		require.Equal(t, base.Add(time.Duration(minute)*time.Minute), r.Minute)
		require.EqualValues(t, 60, r.Count)
		require.InDelta(t, minute, r.Mean(), 1e-9)
		require.Equal(t, "s", r.Service)
		require.Equal(t, "latency_ms", r.Metric)
	}
	q.Step = 10 * time.Minute
	got = t.metric(q).Rollups
	require.Len(t, got, 2)
	require.Equal(t, []any{base, base.Add(10 * time.Minute)}, []any{got[0].Minute, got[1].Minute})
	require.EqualValues(t, []int64{9 * 60, 10 * 60}, []int64{got[0].Count, got[1].Count})
}

func metricPending(t healthFixture) {
	base := hourAgo()
	q := store.MetricQuery{Service: "s", Metric: store.MetricMessages, From: base, To: base.Add(10 * time.Minute)}
	t.record(timed("s", base, 0, 1), timed("s", base, 200, 1))
	t.maintain()
	require.Equal(t, q.To, t.metric(q).CompleteTo)
	t.record(timed("s", base, 330, 1), timed("s", base, 500, 1))
	require.Equal(t, base.Add(5*time.Minute), t.metric(q).CompleteTo)
	require.EqualValues(t, 2, t.sum(q).Count)
	t.maintain()
	require.Equal(t, q.To, t.metric(q).CompleteTo)
	require.EqualValues(t, 4, t.sum(q).Count)
}
