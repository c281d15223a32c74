package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func dashboardFull(t healthFixture) {
	ctx := t.Context()
	base := thisMinute()
	var msgs []store.Message
	for n := range 600 { // of the last ten whole minutes, one in this one
		m := beat(fmt.Sprint("service-", n%3), fmt.Sprint("host-", n%6), int64(n), 0)
		m.At = base.Add(time.Duration(n-599) * time.Second)
		if n%6 == 5 {
			m.Status = "stopped"
		}
		msgs = append(msgs, m)
	}
	t.record(shuffled(msgs)...)
	for i := range 5 {
		_, err := t.health.RaiseAlert(ctx, store.Alert{Service: "service-0", Name: fmt.Sprint(i), RaisedAt: base.Add(time.Duration(i) * time.Second)})
		require.NoError(t, err)
	}
	_, err := t.health.ResolveAlert(ctx, store.Fingerprint("service-0", "", "2"), "", base.Add(time.Minute))
	require.NoError(t, err)

	consumer := &store.ConsumerFigures{Running: true, ErrorRate: 0.02, Rate: 3, Lag: 100}
	d, err := t.health.Dashboard(ctx, store.DashboardQuery{Alerts: 3, Consumer: consumer})
	require.NoError(t, err)
	require.Zero(t, d.Throughput.Messages, "nothing is summed up yet")
	require.Equal(t, base.Add(-10*time.Minute), d.Throughput.To)
	t.maintain()
	d, err = t.health.Dashboard(ctx, store.DashboardQuery{Alerts: 3, Consumer: consumer, Window: 2 * time.Minute})
	require.NoError(t, err)
	require.Equal(t, []store.ServiceHealth{
		{Service: "service-0", Status: "running", LastSeen: base.Add(-2 * time.Second), Instances: map[string]int{"running": 2}},
		{Service: "service-1", Status: "running", LastSeen: base.Add(-time.Second), Instances: map[string]int{"running": 2}},
		{Service: "service-2", Status: "stopped", LastSeen: base, Instances: map[string]int{"running": 1, "stopped": 1}},
	}, d.Services)
	require.Equal(t, 4, d.OpenAlerts)
	require.Len(t, d.Alerts, 3)
	require.Equal(t, t.alerts(store.AlertQuery{Open: true})[:3], d.Alerts)
	if d.Throughput.To.Equal(base) { // else the minute has passed meanwhile
		require.Equal(t, store.Throughput{From: base.Add(-2 * time.Minute), To: base, Messages: 120, Rate: 1}, d.Throughput)
	}
	require.Equal(t, consumer, d.Consumer)
	severities := map[string]string{}
	for _, f := range d.Findings {
		severities[f.Name] = f.Severity
	}
	require.Equal(t, map[string]string{"error_rate": "warning", "slow_consumer": "warning"}, severities)
	_, err = json.Marshal(d)
	require.NoError(t, err)
}

func badQuestions(t healthFixture) {
	ctx := t.Context()
	now := time.Now()
	for want, err := range map[string]error{
		"AlertQuery.Limit":         second(t.health.Alerts(ctx, store.AlertQuery{Limit: 10_001})),
		"AlertQuery.Service":       second(t.health.Alerts(ctx, store.AlertQuery{Service: "\x00"})),
		"AlertQuery.Severity":      second(t.health.Alerts(ctx, store.AlertQuery{Severity: "\xff"})),
		"AlertQuery.Fingerprint":   second(t.health.Alerts(ctx, store.AlertQuery{Fingerprint: strings.Repeat("x", 1000)})),
		"TimelineQuery.Service":    second(t.health.Timeline(ctx, store.TimelineQuery{})),
		"TimelineQuery.Limit":      second(t.health.Timeline(ctx, store.TimelineQuery{Service: "s", Limit: -1})),
		"TimelineQuery.After.Kind": second(t.health.Timeline(ctx, store.TimelineQuery{Service: "s", After: &store.TimelineCursor{At: now, Kind: "x"}})),
		"TimelineQuery.After.ID":   second(t.health.Timeline(ctx, store.TimelineQuery{Service: "s", After: &store.TimelineCursor{At: now, Kind: store.EventRaised, ID: "x"}})),
		"UptimeQuery.Service":      second(t.health.Uptime(ctx, store.UptimeQuery{})),
		"UptimeQuery.From":         second(t.health.Uptime(ctx, store.UptimeQuery{Service: "s", From: now, To: now.Add(-time.Second)})),
		"MetricQuery.Metric":       second(t.health.Metric(ctx, store.MetricQuery{Metric: "\xff"})),
		"MetricQuery.Step":         second(t.health.Metric(ctx, store.MetricQuery{Step: time.Second})),
		"MetricQuery.From":         second(t.health.Metric(ctx, store.MetricQuery{From: now.Add(time.Hour)})),
		"at most 10000":            second(t.health.Metric(ctx, store.MetricQuery{From: now.Add(-1000 * time.Hour), Step: time.Minute})),
		"DashboardQuery.Window":    second(t.health.Dashboard(ctx, store.DashboardQuery{Window: time.Second})),
		"DashboardQuery.Consumer":  second(t.health.Dashboard(ctx, store.DashboardQuery{Consumer: &store.ConsumerFigures{ErrorRate: math.NaN()}})),
		"DashboardQuery.Alerts":    second(t.health.Dashboard(ctx, store.DashboardQuery{Alerts: -1})),
	} {
		require.ErrorContains(t, err, want)
		require.False(t, store.IsTransient(err))
	}
	_, err := t.health.Alerts(ctx, store.AlertQuery{Limit: -1, Service: "\xff"})
	require.ErrorContains(t, err, "Limit")
	require.ErrorContains(t, err, "Service")
}

func second[T any](_ T, err error) error { return err }

// anyQuestions asks with any bytes and any times: that is answered with nothing, or refused, and never the database's trouble.
func anyQuestions(t healthFixture) {
	ctx := t.Context()
	t.manyAlerts(10)
	texts := []string{"'", `"`, ";--", "$1", "?1", "%", "\\", "ü", "\x00", "\xff", "' OR ''='", "{schema}", strings.Repeat("x", 512), strings.Repeat("x", 513)}
	times := []time.Time{
		{},
		time.Unix(0, 0), time.Unix(math.MaxInt32, 0), time.Date(-9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(math.MaxInt64>>8, 0), time.Unix(-math.MaxInt64>>8, 0), time.Now(),
	}
	text := func() string { return texts[rand.IntN(len(texts))] }
	when := func() time.Time { return times[rand.IntN(len(times))] }
	kinds := []store.EventKind{store.EventMessage, store.EventState, store.EventRaised, store.EventResolved}
	for range 50 {
		after := &store.TimelineCursor{At: when(), Kind: kinds[rand.IntN(2)], ID: text()}
		for name, err := range map[string]error{
			"alerts":   second(t.health.Alerts(ctx, store.AlertQuery{Service: text(), From: when(), To: when(), After: &store.AlertCursor{RaisedAt: when(), ID: rand.Int64() - math.MaxInt64/2}})),
			"chosen":   second(t.health.Alerts(ctx, store.AlertQuery{Open: true, Severity: text(), Fingerprint: text(), From: when()})),
			"timeline": second(t.health.Timeline(ctx, store.TimelineQuery{Service: text(), From: when(), To: when(), After: after})),
			"uptime":   second(t.health.Uptime(ctx, store.UptimeQuery{Service: text(), From: when(), To: when()})),
			"metric":   second(t.health.Metric(ctx, store.MetricQuery{Service: text(), Metric: text(), From: when(), To: when()})),
			"messages": second(t.Messages(ctx, store.MessageQuery{Service: text(), To: when(), After: &store.Cursor{At: time.Now(), ID: text()}})),
		} {
			require.False(t, store.IsTransient(err), "%s: %v", name, err)
			require.True(t, err == nil || strings.HasPrefix(err.Error(), "store: "), "%s: %v", name, err)
		}
	}
}
