package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

// RequestStore is the part of a store that keeps requests: what a queue's tracker needs, and what is read of it. The methods of
// the stores of this library say what each must do.
type RequestStore interface {
	Migrate(ctx context.Context) error
	Maintain(ctx context.Context) error

	Hold(ctx context.Context, queue, owner string, d time.Duration) (lapsed bool, err error)
	Accept(ctx context.Context, owner string, requests []store.Request) (known []store.Request, err error)
	Transition(ctx context.Context, owner string, requests []store.Request) (superseded []string, err error)
	Unfinished(ctx context.Context, queue, owner string, limit int) ([]store.Request, error)
	Release(ctx context.Context, queue, owner string) error
	Request(ctx context.Context, queue, id string) (r store.Request, found bool, err error)
	RecordQueue(ctx context.Context, samples []store.QueueSample) error

	Requests(ctx context.Context, q store.RequestQuery) (store.RequestPage, error)
	RequestStats(ctx context.Context, q store.RequestStatsQuery) (store.RequestStats, error)
	QueueSamples(ctx context.Context, q store.QueueSampleQuery) (store.QueueSamplePage, error)
}

// RunRequests runs the suite of requests. open returns a store that is empty, not migrated, keeps requests for 30 days, and is closed
// by the test's Cleanup.
func RunRequests(t *testing.T, open func(t *testing.T) RequestStore) {
	t.Helper()
	tests := map[string]func(requests){
		"Accept_GivesBackWhatItGot":               acceptFaithfully,
		"Accept_KnownStayAsTheyAre":               acceptKnown,
		"Accept_KnownWhenFinished":                acceptFinished,
		"Accept_TwiceInOneCall":                   acceptTwice,
		"Accept_RefusesByNameAndStoresNothing":    acceptRefused,
		"Accept_ManyCallersOfTheSame":             acceptConcurrently,
		"Accept_CancelledCallerHarmsNobody":       acceptCancelled,
		"Accept_RacesWithTheEnd":                  acceptWhileFinishing,
		"Accept_BigBatch":                         acceptBig,
		"Transition_WritesNewestState":            transitionStates,
		"Transition_RepeatedIsNotSuperseded":      transitionRepeated,
		"Transition_IsFencedByOwner":              transitionFenced,
		"Transition_OneOutcome":                   transitionOutcome,
		"Transition_RefusesByName":                transitionRefused,
		"Transition_MakesErrorsStorable":          transitionErrors,
		"Hold_LapsesAndIsRenewed":                 holdLapses,
		"Hold_RefusesBadInput":                    holdRefused,
		"Unfinished_OldestFirstWithinLimit":       unfinishedOrder,
		"Unfinished_LeavesTheLivingAlone":         unfinishedLiving,
		"Unfinished_NeedsALease":                  unfinishedLease,
		"Unfinished_TwoNeverGetTheSame":           unfinishedConcurrently,
		"Model_RandomOwnersRace":                  ownersRace,
		"Request_OfOtherQueuesIsAnother":          requestQueues,
		"Requests_PagesAreComplete":               requestPages,
		"Requests_Choose":                         requestsChoose,
		"Requests_RefuseBadQuery":                 requestsBadQuery,
		"RequestStats_CountAndMeasure":            requestStats,
		"QueueSamples_PagesAreComplete":           samplePages,
		"QueueSamples_OnceAndWithinTheWindow":     samplesOnce,
		"MaintainRequests_KeepsWhatIsNotFinished": maintainRequests,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			require.NoError(t, s.Migrate(t.Context()))
			test(requests{t, s})
		})
	}
	t.Run("Requests_BeforeMigrateAreAnOutage", func(t *testing.T) {
		t.Parallel()
		requestsUnmigrated(requests{t, open(t)})
	})
}

// requests is a test with its store.
type requests struct {
	*testing.T
	RequestStore
}

func job(id string) store.Request {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Request{Queue: "orders", ID: id, Status: store.RequestQueued, Payload: []byte(`{"id":1}`), Created: now, Queued: now}
}

func jobs(prefix string, n int) []store.Request {
	all := make([]store.Request, n)
	for i := range all {
		all[i] = job(fmt.Sprintf("%s-%04d", prefix, i))
	}
	return all
}

// started and ended are r as its owner tells of it later.
func started(r store.Request) store.Request {
	r.Status, r.Worker, r.Attempts = store.RequestProcessing, "host-1/3", 1
	r.Started = r.Queued.Add(time.Second)
	return r
}

func ended(r store.Request, status string) store.Request {
	r = started(r)
	r.Status, r.Processing = status, 1500*time.Millisecond
	r.Completed = r.Started.Add(r.Processing)
	return r
}

func (t requests) accept(owner string, all ...store.Request) []store.Request {
	t.Helper()
	known, err := t.Accept(t.Context(), owner, all)
	require.NoError(t, err)
	return known
}

func (t requests) transition(owner string, all ...store.Request) []string {
	t.Helper()
	superseded, err := t.Transition(t.Context(), owner, all)
	require.NoError(t, err)
	return superseded
}

func (t requests) hold(owner string, d time.Duration) bool {
	t.Helper()
	lapsed, err := t.Hold(t.Context(), "orders", owner, d)
	require.NoError(t, err)
	return lapsed
}

func (t requests) unfinished(owner string, limit int) []store.Request {
	t.Helper()
	all, err := t.Unfinished(t.Context(), "orders", owner, limit)
	require.NoError(t, err)
	return all
}

func (t requests) request(id string) store.Request {
	t.Helper()
	r, found, err := t.Request(t.Context(), "orders", id)
	require.NoError(t, err)
	require.True(t, found, id)
	return r
}

func (t requests) release(owner string) {
	t.Helper()
	require.NoError(t, t.Release(t.Context(), "orders", owner))
}

// of is all as stored for an owner.
func of(owner string, all ...store.Request) []store.Request {
	all = slices.Clone(all)
	for i := range all {
		all[i].Owner = owner
	}
	return all
}

func idsOf(all []store.Request) []string {
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	return ids
}

// refused returns the rows that err names.
func (t requests) refused(err error) []*store.RowError {
	t.Helper()
	var named *store.RefusedRowsError
	require.ErrorAs(t, err, &named)
	require.False(t, store.IsTransient(err))
	require.NotEmpty(t, named.Rows)
	return named.Rows
}
