package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// HealthStore is what RunHealth tests: a store that also remembers alerts and uptime, sums the log up, and answers questions.
type HealthStore interface {
	Store

	// RaiseAlert opens an episode, or counts that the open one was raised again.
	RaiseAlert(ctx context.Context, a store.Alert) (opened bool, err error)

	// AcknowledgeAlert says that somebody looks after the open episode. The first one who says so stays.
	AcknowledgeAlert(ctx context.Context, fingerprint, by string) (open bool, err error)

	// ResolveAlert ends the open episode, unless it was raised again after at.
	ResolveAlert(ctx context.Context, fingerprint, by string, at time.Time) (resolved bool, err error)

	// RecordUptime stores changes and returns how many were news.
	RecordUptime(ctx context.Context, changes []store.UptimeChange) (int, error)

	Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error)
	Timeline(ctx context.Context, q store.TimelineQuery) (store.Timeline, error)
	Uptime(ctx context.Context, q store.UptimeQuery) (store.ServiceUptime, error)
	Metric(ctx context.Context, q store.MetricQuery) (store.MetricSeries, error)
	Dashboard(ctx context.Context, q store.DashboardQuery) (store.Dashboard, error)
}

// RunHealth runs the suite of alerts, uptime, rollups and questions. open is as for Run.
func RunHealth(t *testing.T, open func(t *testing.T) HealthStore) {
	t.Helper()
	for name, test := range map[string]func(healthFixture){
		"Empty_AnswersEverything":               emptyStore,
		"Alerts_MatchModelInOrder":              alertsModel,
		"Alerts_OpenFollowsTheNewest":           alertsAnyOrder,
		"Alerts_OneEpisodeUnderRaces":           alertsRaces,
		"Alerts_ReplayDoesNotInflate":           alertsReplay,
		"Alerts_FirstRaisesAllCount":            alertsFirst,
		"Alerts_RepeatedCallsDoNotInflate":      alertsCalls,
		"Alerts_Acknowledge":                    alertsAcknowledge,
		"Alerts_RefuseBadOnes":                  alertsBad,
		"Alerts_Choose":                         alertsChoose,
		"Alerts_PagesStayAlignedWhileRaising":   alertsPages,
		"Uptime_MatchesOracle":                  uptimeOracle,
		"Uptime_ServiceIsUpWhileOneInstanceIs":  uptimeService,
		"Uptime_RefusesBadChanges":              uptimeBad,
		"Uptime_Windows":                        uptimeWindows,
		"Metric_PercentilesMatchSort":           metricPercentiles,
		"Metric_ReplayAndLateRows":              metricReplay,
		"Metric_Steps":                          metricSteps,
		"Metric_SaysWhatIsNotSummedUp":          metricPending,
		"Timeline_MatchesOracle":                timelineOracle,
		"Timeline_PagesStayAlignedWhileWriting": timelineStable,
		"Timeline_RareServices":                 timelineRare,
		"Dashboard_ShowsWhatIs":                 dashboardFull,
		"Questions_RefuseBadOnes":               badQuestions,
		"Questions_AnyBytes":                    anyQuestions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			require.NoError(t, s.Migrate(t.Context()))
			test(healthFixture{fixture{t, s}, s})
		})
	}
	t.Run("Questions_BeforeMigrateAreAnOutage", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		healthUnmigrated(healthFixture{fixture{t, s}, s})
	})
}

// healthFixture is a test with its store.
type healthFixture struct {
	fixture
	health HealthStore
}

// thisMinute is a time of which the minute has begun long enough ago for tests to write to it and to those before.
func thisMinute() time.Time { return time.Now().UTC().Truncate(time.Minute) }

func (t healthFixture) maintain() {
	t.Helper()
	require.NoError(t, t.Maintain(t.Context()))
}

// alerts reads all pages.
func (t healthFixture) alerts(q store.AlertQuery) []store.Alert {
	t.Helper()
	var all []store.Alert
	if q.Limit == 0 {
		q.Limit = 1000
	}
	for {
		page, err := t.health.Alerts(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Alerts...)
		require.Less(t, len(all), 10_000, "pages without end")
		if page.Next == nil {
			return all
		}
		require.Len(t, page.Alerts, q.Limit)
		q.After = page.Next
	}
}

func (t healthFixture) uptime(q store.UptimeQuery) store.ServiceUptime {
	t.Helper()
	u, err := t.health.Uptime(t.Context(), q)
	require.NoError(t, err)
	return u
}

func (t healthFixture) metric(q store.MetricQuery) store.MetricSeries {
	t.Helper()
	s, err := t.health.Metric(t.Context(), q)
	require.NoError(t, err)
	return s
}

// emptyStore asks a store that has nothing: every answer is empty, none is an error.
func emptyStore(t healthFixture) {
	ctx := t.Context()
	require.Empty(t, t.alerts(store.AlertQuery{}))
	require.Empty(t, t.alerts(store.AlertQuery{Open: true, Severity: "critical", Service: "s", Fingerprint: "f"}))
	line, err := t.health.Timeline(ctx, store.TimelineQuery{Service: "s"})
	require.NoError(t, err)
	require.Equal(t, store.Timeline{}, line)
	u := t.uptime(store.UptimeQuery{Service: "s"})
	require.Empty(t, u.Instances)
	_, known := u.Percent()
	require.False(t, known)
	require.Equal(t, 24*time.Hour, u.To.Sub(u.From))
	for range 2 {
		require.Empty(t, t.metric(store.MetricQuery{Service: "s", Metric: "m"}).Rollups)
		d, err := t.health.Dashboard(ctx, store.DashboardQuery{})
		require.NoError(t, err)
		require.Empty(t, d.Services)
		require.Equal(t, []store.Alert{}, d.Alerts, "an empty list, for JSON")
		require.Zero(t, d.OpenAlerts)
		require.Zero(t, d.Throughput.Messages)
		require.Equal(t, 5*time.Minute, d.Throughput.To.Sub(d.Throughput.From))
		require.WithinDuration(t, time.Now(), d.At, time.Hour)
		t.maintain()
	}
	resolved, err := t.health.ResolveAlert(ctx, "f", "", time.Time{})
	require.NoError(t, err)
	require.False(t, resolved)
	open, err := t.health.AcknowledgeAlert(ctx, "f", "")
	require.NoError(t, err)
	require.False(t, open)
	n, err := t.health.RecordUptime(ctx, nil)
	require.NoError(t, err)
	require.Zero(t, n)
}
