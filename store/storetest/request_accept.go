package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func acceptFaithfully(t requests) {
	full := job("full")
	full.Key, full.Priority, full.Worker, full.Attempts, full.MaxAttempts = "customer-7", -3, "host-1", 2, 5
	full.Deadline = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	full.Created = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	full.Status, full.Started, full.Processing = store.RequestProcessing, full.Queued.Add(time.Second), 17*time.Nanosecond
	full.Result, full.Error = []byte{0, 255}, "not yet"
	full.Steps = []store.Step{
		{Name: "step1", Attempt: 1, Started: full.Queued, Took: 3 * time.Nanosecond, Result: []byte("\x00\xff{}")},
		{Name: "", Attempt: 2, Error: "<no> \\ \" é"},
	}
	bare := store.Request{Queue: "orders", ID: "bare", Status: store.RequestQueued}
	local := job("local")
	local.Queued = local.Queued.In(time.FixedZone("", 3600)).Add(999 * time.Nanosecond)
	large := job("large")
	large.Payload = bytes.Repeat([]byte{0, 1, 2, 255, '\'', '\\', '{'}, 10<<20/7)
	all := []store.Request{full, bare, local, large}
	for i, odd := range []string{
		`"`, `\`, `'`, `;--`, `{`, `}`, `{,}`, `,`, `NULL`, ` `, "\t\r\n", "\x01\x1f\x7f", "$1", "%s", "?", "ü", "日本語", "😀", "\u202e", "\ufeff",
		"\ufffd", "\U0010ffff", strings.Repeat("x", store.MaxNameBytes),
	} {
		r := job(odd)
		r.Key, r.Worker, r.Payload = odd, odd, []byte(odd)
		r.Priority = []int{math.MinInt32, 0, math.MaxInt32}[i%3]
		all = append(all, r)
	}
	require.Empty(t, t.accept(`an "owner"`, all...))
	for _, r := range all { // a store may have a way for many and one for few
		r.Queue = "alone"
		require.Empty(t, t.accept(`an "owner"`, r))
	}
	local.Queued = local.Queued.UTC().Truncate(time.Microsecond)
	all[2] = local
	for _, want := range of(`an "owner"`, all...) {
		require.Equal(t, want, t.request(want.ID))
		want.Queue = "alone"
		got, _, err := t.Request(t.Context(), want.Queue, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, found, err := t.Request(t.Context(), "orders", "unknown")
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, of(`an "owner"`, all...), t.accept("other", all...), "in the order of the call, with the first owner")
}

func acceptKnown(t requests) {
	first := job("1")
	t.accept("a", first)
	again := first
	again.Payload, again.Key, again.Status = []byte("other"), "other", store.RequestProcessing
	fresh := job("2")
	require.Equal(t, of("a", first), t.accept("b", again, fresh), "b learns that it is not the one")
	require.Equal(t, of("a", first)[0], t.request("1"))
	require.Equal(t, of("b", fresh)[0], t.request("2"))
	require.Equal(t, of("a", first), t.accept("a", first), "a, which lost the reply, learns that it is")
	require.Empty(t, t.accept("a"))
}

func acceptFinished(t requests) {
	var all []store.Request
	for _, status := range []string{store.RequestCompleted, store.RequestFailed, store.RequestCancelled} {
		r := job(status)
		t.accept("a", r)
		r = ended(r, status)
		r.Result, r.Error = []byte("result"), "error"
		require.Empty(t, t.transition("a", r))
		all = append(all, r)
	}
	again := jobs("again", 3)
	for i := range again {
		again[i].ID = all[i].ID
	}
	var fresh []store.Request
	for _, n := range []int{20, 1} { // a store may have a way for many and one for few
		some := jobs(fmt.Sprint("fresh", n), n)
		require.Equal(t, of("a", all...), t.accept("b", append(slices.Clone(again), some...)...))
		fresh = append(fresh, some...)
	}
	for _, r := range of("a", all...) {
		require.Equal(t, r, t.request(r.ID))
	}
	t.hold("c", time.Hour)
	require.Equal(t, idsOf(fresh), idsOf(t.unfinished("c", 100)), "nothing that is finished comes to life again")
}

func acceptTwice(t requests) {
	first, second := job("1"), job("1")
	second.Payload = []byte("second")
	require.Equal(t, of("a", first), t.accept("a", first, second))
	require.Equal(t, of("a", first)[0], t.request("1"))
}

func acceptRefused(t requests) {
	year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	bad := map[string]func(r *store.Request){
		"empty ID":         func(r *store.Request) { r.ID = "" },
		"NUL in ID":        func(r *store.Request) { r.ID = "a\x00b" },
		"bad UTF-8 in ID":  func(r *store.Request) { r.ID = "\xff" },
		"long ID":          func(r *store.Request) { r.ID = strings.Repeat("x", store.MaxNameBytes+1) },
		"empty queue":      func(r *store.Request) { r.Queue = "" },
		"bad queue":        func(r *store.Request) { r.Queue = "\xed\xa0\x80" },
		"bad key":          func(r *store.Request) { r.Key = "\x00" },
		"bad worker":       func(r *store.Request) { r.Worker = "\xff" },
		"unknown status":   func(r *store.Request) { r.Status = "sleeping" },
		"no status":        func(r *store.Request) { r.Status = "" },
		"finished already": func(r *store.Request) { r.Status = store.RequestCompleted },
		"huge payload":     func(r *store.Request) { r.Payload = make([]byte, store.MaxBytes+1) },
		"huge result":      func(r *store.Request) { r.Result = make([]byte, store.MaxBytes+1) },
		"huge steps":       func(r *store.Request) { r.Steps = []store.Step{{Result: make([]byte, store.MaxBytes+1)}} },
		"year 10000":       func(r *store.Request) { r.Deadline = year10000 },
		"year 0":           func(r *store.Request) { r.Created = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"step year 10000":  func(r *store.Request) { r.Steps = []store.Step{{Started: year10000}} },
		"end of time":      func(r *store.Request) { r.Queued = time.Unix(1<<60, 0) },
	}
	if strconv.IntSize > 32 {
		bad["priority"] = func(r *store.Request) { r.Priority = math.MinInt }
		bad["attempts"] = func(r *store.Request) { r.Attempts = math.MaxInt }
		bad["max attempts"] = func(r *store.Request) { r.MaxAttempts = math.MaxInt }
	}
	good := jobs("good", 2*len(bad))
	batch := append([]store.Request(nil), good...)
	names, i := map[int]string{}, 0
	for name, spoil := range bad {
		spoil(&batch[i])
		names[i] = name
		i += 2
	}
	_, err := t.Accept(t.Context(), "a", batch)
	rows := t.refused(err)
	require.Len(t, rows, len(bad))
	for _, row := range rows {
		require.Contains(t, names, row.Index)
		require.Equal(t, batch[row.Index].ID, row.ID)
		require.NotEmpty(t, row.Reason)
		require.Equal(t, row.Index, row.FailedIndex())
	}
	require.Empty(t, t.accept("b", good...), "nothing was stored")
	for _, owner := range []string{"", "\x00", "\xff", strings.Repeat("x", store.MaxNameBytes+1)} {
		_, err := t.Accept(t.Context(), owner, jobs("x", 1))
		require.ErrorContains(t, err, "owner")
		require.False(t, store.IsTransient(err))
	}
}

// acceptConcurrently has many callers want the same IDs at once: each ID gets one owner, and all others learn of it.
func acceptConcurrently(t requests) {
	const callers, ids = 32, 60
	var mu sync.Mutex
	owners := map[string]string{}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			owner := fmt.Sprint("owner-", c)
			all := jobs("x", ids)
			for i := range all {
				j := (i*7 + c) % ids
				r := all[j]
				r.Payload = []byte(owner)
				known, err := t.Accept(t.Context(), owner, []store.Request{r})
				if !assert.NoError(t, err) {
					return
				}
				got := owner
				if len(known) > 0 {
					assert.Equal(t, r.ID, known[0].ID)
					assert.Equal(t, known[0].Owner, string(known[0].Payload), "all of it is the first one's")
					got = known[0].Owner
				}
				mu.Lock()
				if before, seen := owners[r.ID]; seen {
					assert.Equal(t, before, got)
				}
				owners[r.ID] = got
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, owners, ids)
	for id, owner := range owners {
		require.Equal(t, owner, t.request(id).Owner)
	}
}

// acceptCancelled ends the contexts of half of the callers, at any moment.
func acceptCancelled(t requests) {
	const callers = 64
	cancelled, cancel := context.WithCancel(t.Context())
	all := jobs("x", callers)
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for i := range all {
		ctx := t.Context()
		if i%2 == 1 {
			ctx = cancelled
		}
		wg.Go(func() {
			_, err := t.Accept(ctx, "a", all[i:i+1])
			clear(all[i].Payload) // it is the caller's again
			if i%2 == 0 {
				assert.NoError(t, err)
			} else if err != nil {
				assert.ErrorIs(t, err, context.Canceled)
				assert.False(t, store.IsTransient(err))
			}
			if accepted.Add(1) == callers/4 {
				cancel()
			}
		})
	}
	wg.Wait()
	cancel()
	for i := range all {
		if r, found, err := t.Request(t.Context(), "orders", all[i].ID); i%2 == 0 || found {
			require.NoError(t, err)
			require.Equal(t, job("").Payload, r.Payload)
		}
	}
	_, err := t.Accept(cancelled, "a", jobs("late", 1))
	require.ErrorIs(t, err, context.Canceled)
	expired, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, err = t.Accept(expired, "a", jobs("late", 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, store.IsTransient(err))
	_, found, err := t.Request(t.Context(), "orders", "late-0000")
	require.NoError(t, err)
	require.False(t, found)
}

// acceptWhileFinishing wants IDs again at the moment at which they finish: each is known, none begins anew.
func acceptWhileFinishing(t requests) {
	all := jobs("x", 100)
	t.accept("a", all...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range all {
			_, err := t.Transition(t.Context(), "a", []store.Request{ended(all[i], store.RequestCompleted)})
			assert.NoError(t, err)
		}
	})
	for range 4 {
		wg.Go(func() {
			for i := range all {
				known, err := t.Accept(t.Context(), "b", all[i:i+1])
				assert.NoError(t, err)
				if assert.Len(t, known, 1) {
					assert.Equal(t, "a", known[0].Owner)
				}
			}
		})
	}
	wg.Wait()
	stats, err := t.RequestStats(t.Context(), store.RequestStatsQuery{To: time.Now().Add(time.Hour), From: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.EqualValues(t, len(all), stats.Completed)
	require.Zero(t, stats.Queued+stats.Processing)
}

func acceptBig(t requests) {
	all := jobs("x", 1000)
	require.Empty(t, t.accept("a", all...))
	require.Len(t, t.accept("b", all...), len(all))
	for i := range all {
		all[i] = ended(all[i], store.RequestCompleted)
	}
	require.Empty(t, t.transition("a", all...))
	require.Empty(t, t.transition("a", all...))
	require.Len(t, t.transition("b", all...), len(all))
	require.Equal(t, of("a", all...), t.accept("c", jobs("x", 1000)...))
}
