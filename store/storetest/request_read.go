package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func requestQueues(t requests) {
	a, b := job("1"), job("1")
	b.Queue, b.Payload = "payments", []byte("b")
	require.Empty(t, t.accept("a", a, b))
	require.Empty(t, t.transition("a", ended(a, store.RequestCompleted)))
	require.Equal(t, store.RequestCompleted, t.request("1").Status)
	got, found, err := t.Request(t.Context(), "payments", "1")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, of("a", b)[0], got)
}

// pages reads requests to their end.
func (t requests) pages(q store.RequestQuery) []store.Request {
	t.Helper()
	var all []store.Request
	for {
		page, err := t.Requests(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Requests...)
		if page.Next == nil {
			return all
		}
		require.Len(t, page.Requests, q.Limit, "a page that isn't the last one is full")
		q.After = page.Next
	}
}

// mixed stores requests of all states and returns them newest first.
func (t requests) mixed() []store.Request {
	t.Helper()
	all := jobs("x", 60)
	for i := range all {
		all[i].Queue = []string{"orders", "payments"}[i%2]
		all[i].Key = []string{"k1", "k2", ""}[i%3]
	}
	t.accept("a", all...)
	statuses := []string{store.RequestQueued, store.RequestProcessing, store.RequestCompleted, store.RequestFailed, store.RequestCancelled}
	var open, done []store.Request
	for i, r := range all {
		status := statuses[i%5]
		switch status {
		case store.RequestQueued:
			open = append(open, r)
			continue
		case store.RequestProcessing:
			r = started(r)
			open = append(open, r)
		default:
			r = ended(r, status)
			done = append(done, r)
		}
		require.Empty(t, t.transition("a", r))
	}
	slices.Reverse(open)
	slices.Reverse(done)
	return of("a", append(done, open...)...)
}

func requestPages(t requests) {
	want := t.mixed()
	for _, limit := range []int{1, 7, 59, 60, 61} {
		require.Equal(t, want, t.pages(store.RequestQuery{Limit: limit}), "limit %d", limit)
	}
	page, err := t.Requests(t.Context(), store.RequestQuery{})
	require.NoError(t, err)
	require.Equal(t, want, page.Requests)
	require.Nil(t, page.Next)
	// Of the time of a cursor To says no, wherever the page begins.
	page, err = t.Requests(t.Context(), store.RequestQuery{Limit: 1})
	require.NoError(t, err)
	at := page.Next.At
	page, err = t.Requests(t.Context(), store.RequestQuery{Limit: 1, To: at, After: &store.RequestCursor{At: at, Queue: "zzz"}})
	require.NoError(t, err)
	require.NotEqual(t, want[0], page.Requests[0])
	require.True(t, page.Next.At.Before(at))
}

func requestsChoose(t requests) {
	all := t.mixed()
	for name, c := range map[string]struct {
		query store.RequestQuery
		want  func(r store.Request) bool
	}{
		"queue":      {store.RequestQuery{Queue: "payments"}, func(r store.Request) bool { return r.Queue == "payments" }},
		"queued":     {store.RequestQuery{Status: store.RequestQueued}, func(r store.Request) bool { return r.Status == store.RequestQueued }},
		"processing": {store.RequestQuery{Status: store.RequestProcessing}, func(r store.Request) bool { return r.Status == store.RequestProcessing }},
		"completed":  {store.RequestQuery{Status: store.RequestCompleted}, func(r store.Request) bool { return r.Status == store.RequestCompleted }},
		"failed":     {store.RequestQuery{Status: store.RequestFailed}, func(r store.Request) bool { return r.Status == store.RequestFailed }},
		"cancelled":  {store.RequestQuery{Status: store.RequestCancelled}, func(r store.Request) bool { return r.Status == store.RequestCancelled }},
		"worker":     {store.RequestQuery{Worker: "host-1/3"}, func(r store.Request) bool { return r.Worker != "" }},
		"queue, key, status": {
			store.RequestQuery{Queue: "orders", Key: "k1", Status: store.RequestCompleted},
			func(r store.Request) bool {
				return r.Queue == "orders" && r.Key == "k1" && r.Status == store.RequestCompleted
			},
		},
		"nobody":             {store.RequestQuery{Worker: "nobody"}, func(store.Request) bool { return false }},
		"around now":         {store.RequestQuery{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, func(store.Request) bool { return true }},
		"before an hour":     {store.RequestQuery{To: time.Now().Add(-time.Hour)}, func(store.Request) bool { return false }},
		"from in an hour":    {store.RequestQuery{From: time.Now().Add(time.Hour)}, func(store.Request) bool { return false }},
		"nothing in no time": {store.RequestQuery{From: time.Now(), To: time.Now().Add(-time.Second)}, func(store.Request) bool { return false }},
	} {
		var want []store.Request
		for _, r := range all {
			if c.want(r) {
				want = append(want, r)
			}
		}
		c.query.Limit = 4
		require.Equal(t, want, t.pages(c.query), name)
	}
}

func requestsBadQuery(t requests) {
	for field, q := range map[string]store.RequestQuery{
		"Limit":       {Limit: 1 << 20},
		"Queue":       {Queue: "\x00"},
		"Status":      {Status: "done"},
		"Key":         {Key: "\xff"},
		"Worker":      {Worker: "\xff"},
		"After.ID":    {After: &store.RequestCursor{ID: "\x00"}},
		"After.Queue": {After: &store.RequestCursor{Queue: "\x00"}},
	} {
		_, err := t.Requests(t.Context(), q)
		require.ErrorContains(t, err, "RequestQuery."+field)
		require.False(t, store.IsTransient(err))
	}
	_, err := t.RequestStats(t.Context(), store.RequestStatsQuery{From: time.Now(), To: time.Now().Add(-time.Hour), Queue: "\x00"})
	require.ErrorContains(t, err, "RequestStatsQuery.From")
	require.ErrorContains(t, err, "RequestStatsQuery.Queue")
	_, err = t.QueueSamples(t.Context(), store.QueueSampleQuery{Limit: -1, Worker: "\xff", After: &store.QueueSampleCursor{Worker: "\xff"}})
	for _, field := range []string{"Queue is empty", "Limit", "Worker", "After.Worker"} {
		require.ErrorContains(t, err, field)
	}
}

func requestStats(t requests) {
	none, err := t.RequestStats(t.Context(), store.RequestStatsQuery{})
	require.NoError(t, err)
	require.Equal(t, time.Hour, none.To.Sub(none.From))
	require.Equal(t, store.RequestStats{From: none.From, To: none.To}, none)

	all := jobs("x", 104)
	other := job("other")
	other.Queue = "payments"
	t.accept("a", append(all, other)...)
	for i := range 100 { // waits of 1 to 100 s, runs of twice that
		r := &all[i]
		r.Started = r.Queued.Add(time.Duration(i+1) * time.Second)
		r.Processing = 2 * time.Duration(i+1) * time.Second
		r.Status = store.RequestCompleted
		if i%10 == 0 {
			r.Status = store.RequestFailed
		}
	}
	all[100].Status, all[101] = store.RequestCancelled, started(all[101]) // never started, and still running
	t.transition("a", append(all[:102:102], ended(other, store.RequestCompleted))...)

	q := store.RequestStatsQuery{Queue: "orders", From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}
	got, err := t.RequestStats(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, store.RequestStats{
		From: q.From.UTC().Truncate(time.Microsecond), To: q.To.UTC().Truncate(time.Microsecond),
		Queued: 2, Processing: 1, Completed: 90, Failed: 10, Cancelled: 1, Throughput: 101.0 / 7200,
		Wait: store.Duration{Mean: 50500 * time.Millisecond, P50: 50 * time.Second, P95: 95 * time.Second, P99: 99 * time.Second, Max: 100 * time.Second},
		Run:  store.Duration{Mean: 101 * time.Second, P50: 100 * time.Second, P95: 190 * time.Second, P99: 198 * time.Second, Max: 200 * time.Second},
	}, roundThroughput(got, 101.0/7200))
	q.Queue = ""
	got, err = t.RequestStats(t.Context(), q)
	require.NoError(t, err)
	require.EqualValues(t, 91, got.Completed)
	got, err = t.RequestStats(t.Context(), store.RequestStatsQuery{To: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.Zero(t, got.Completed)
	require.EqualValues(t, 2, got.Queued, "what waits now does so whatever the range is")
}

// roundThroughput takes away how the times were rounded.
func roundThroughput(s store.RequestStats, want float64) store.RequestStats {
	if s.Throughput > want*0.999 && s.Throughput < want*1.001 {
		s.Throughput = want
	}
	return s
}

func queueSample(worker string, shard int, at time.Time) store.QueueSample {
	return store.QueueSample{
		Queue: "orders", Worker: worker, Shard: shard, At: at.UTC().Truncate(time.Microsecond),
		Depth: 7, Active: 3, Processed: 1 << 40, Failed: 2, Refused: 1,
	}
}

func samplePages(t requests) {
	now := time.Now()
	var want []store.QueueSample
	for i := range 20 {
		for _, worker := range []string{"b", "a"} {
			for shard := 2; shard >= 0; shard-- {
				want = append(want, queueSample(worker, shard, now.Add(-time.Duration(i)*time.Second)))
			}
		}
	}
	shuffled := slices.Clone(want)
	slices.Reverse(shuffled)
	require.NoError(t, t.RecordQueue(t.Context(), shuffled))
	other := queueSample("a", 0, now)
	other.Queue = "payments"
	require.NoError(t, t.RecordQueue(t.Context(), []store.QueueSample{other}))
	pages := func(q store.QueueSampleQuery) (all []store.QueueSample) {
		for {
			page, err := t.QueueSamples(t.Context(), q)
			require.NoError(t, err)
			all = append(all, page.Samples...)
			if page.Next == nil {
				return all
			}
			q.After = page.Next
		}
	}
	for _, limit := range []int{1, 7, 119, 120, 121} {
		require.Equal(t, want, pages(store.QueueSampleQuery{Queue: "orders", Limit: limit}))
	}
	require.Len(t, pages(store.QueueSampleQuery{Queue: "orders", Worker: "a"}), 60)
	require.Equal(t, want[30:60], pages(store.QueueSampleQuery{Queue: "orders", From: want[59].At, To: want[29].At}))
	require.Empty(t, pages(store.QueueSampleQuery{Queue: "nobody's"}))
	at := want[30].At // of which To says no, wherever the page begins
	require.Equal(t, want[36:], pages(store.QueueSampleQuery{Queue: "orders", To: at, After: &store.QueueSampleCursor{At: at, Worker: "z"}}))
}

func samplesOnce(t requests) {
	now := time.Now()
	good := []store.QueueSample{queueSample("a", 0, now), queueSample("a", 0, now), queueSample("a", 0, now.Add(-29*24*time.Hour)), queueSample("a", 0, now.Add(23*time.Hour))}
	bad := []store.QueueSample{
		queueSample("a", 1, time.Time{}), queueSample("a", 1, now.Add(25*time.Hour)), queueSample("a", 1, now.Add(-32*24*time.Hour)),
		queueSample("\xff", 1, now),
		{At: now},
		{Queue: "\x00", At: now},
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { assert.NoError(t, t.RecordQueue(t.Context(), good)) })
	}
	wg.Wait()
	good = append(good, queueSample("a", 2, now))
	rows := t.refused(t.RecordQueue(t.Context(), append(bad, good...)))
	require.Len(t, rows, len(bad))
	for i, row := range rows {
		require.Equal(t, i, row.Index)
	}
	require.NoError(t, t.RecordQueue(t.Context(), nil))
	page, err := t.QueueSamples(t.Context(), store.QueueSampleQuery{Queue: "orders"})
	require.NoError(t, err)
	require.Equal(t, []store.QueueSample{good[3], good[4], good[0], good[2]}, page.Samples)
}

func maintainRequests(t requests) {
	all := jobs("x", 40)
	t.hold("a", time.Hour)
	t.accept("a", all...)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 3 {
				assert.NoError(t, t.Maintain(t.Context()))
			}
		})
	}
	for i := range all[:20] {
		all[i] = ended(all[i], store.RequestCompleted)
		require.Empty(t, t.transition("a", all[i]))
	}
	wg.Wait()
	require.NoError(t, t.Maintain(t.Context()))
	for _, r := range of("a", all...) {
		require.Equal(t, r, t.request(r.ID))
	}
	require.False(t, t.hold("a", time.Hour), "the lease is kept")
}
