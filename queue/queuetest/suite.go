package queuetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// TestTracker tests what a queue relies on in a tracker. It uses queues and owners of its own and leaves what it stored behind. It takes some seconds, since
// leases have to run out by the tracker's clock.
func TestTracker(t *testing.T, tracker queue.Tracker) {
	t.Helper()
	for name, test := range map[string]func(subject, *testing.T){
		"what is accepted is kept":           subject.accepts,
		"an ID is accepted once":             subject.acceptsOnce,
		"transitions":                        subject.transits,
		"an outcome is recorded once":        subject.oneOutcome,
		"nothing is taken from who holds it": subject.holds,
		"what is released is free":           subject.releases,
		"a lapsed lease is told, and fenced": subject.lapses,
		"two never get the same":             subject.sharesOut,
		"samples":                            subject.samples,
		"a context that has ended is obeyed": subject.obeys,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(subject{tracker, "queuetest-" + rand.Text()}, t)
		})
	}
}

// subject is a tracker, and a queue in it that nobody else uses.
type subject struct {
	queue.Tracker
	queue string
}

func (s subject) job(id string) queue.TrackedRequest {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return queue.TrackedRequest{
		Queue: s.queue, ID: id, Key: "key", Priority: 7, MaxAttempts: 5, Deadline: now.Add(time.Hour), Payload: []byte(`{"a":1}`),
		Status: queue.StatusQueued, Worker: "w", Created: now, Queued: now,
	}
}

func (s subject) accept(t *testing.T, owner string, ids ...string) {
	t.Helper()
	var jobs []queue.TrackedRequest
	for _, id := range ids {
		jobs = append(jobs, s.job(id))
	}
	known, err := s.Accept(t.Context(), owner, jobs)
	require.NoError(t, err)
	require.Empty(t, known)
}

func (s subject) hold(t *testing.T, owner string, d time.Duration) (lapsed bool) {
	t.Helper()
	lapsed, err := s.Hold(t.Context(), s.queue, owner, d)
	require.NoError(t, err)
	return lapsed
}

func (s subject) request(t *testing.T, id string) queue.TrackedRequest {
	t.Helper()
	r, found, err := s.Request(t.Context(), s.queue, id)
	require.NoError(t, err)
	require.True(t, found)
	return r
}

func (s subject) transition(t *testing.T, owner string, jobs ...queue.TrackedRequest) (superseded []string) {
	t.Helper()
	superseded, err := s.Transition(t.Context(), owner, jobs)
	require.NoError(t, err)
	return superseded
}

func (s subject) unfinished(t *testing.T, owner string) []string {
	t.Helper()
	left, err := s.Unfinished(t.Context(), s.queue, owner, 10)
	require.NoError(t, err)
	ids := make([]string, len(left))
	for i, r := range left {
		require.Equal(t, `{"a":1}`, string(r.Payload))
		require.Equal(t, owner, r.Owner)
		ids[i] = r.ID
	}
	return ids
}

func (s subject) accepts(t *testing.T) { //nolint:thelper // a test
	want := s.job("a")
	known, err := s.Accept(t.Context(), "me", []queue.TrackedRequest{want})
	require.NoError(t, err)
	require.Empty(t, known)
	want.Owner = "me"
	require.Equal(t, want, s.request(t, "a"))
	_, found, err := s.Request(t.Context(), s.queue, "b")
	require.NoError(t, err)
	require.False(t, found)
}

func (s subject) acceptsOnce(t *testing.T) { //nolint:thelper // a test
	s.accept(t, "me", "a")
	again := s.job("a")
	again.Payload = []byte("2")
	known, err := s.Accept(t.Context(), "you", []queue.TrackedRequest{again, s.job("b")})
	require.NoError(t, err)
	require.Len(t, known, 1)
	require.Equal(t, "me", known[0].Owner)
	require.Equal(t, `{"a":1}`, string(known[0].Payload))
	require.Equal(t, "you", s.request(t, "b").Owner)
}

func (s subject) transits(t *testing.T) { //nolint:thelper // a test
	s.accept(t, "me", "a")
	want := s.job("a")
	want.Status, want.Attempts, want.Started = queue.StatusProcessing, 2, want.Queued.Add(time.Second)
	want.Steps = []queue.StepRecord{{Name: "s", Attempt: 1, Started: want.Started, Took: time.Millisecond, Result: []byte("1")}}
	change := want
	change.Payload, change.Key, change.MaxAttempts = []byte("2"), "other", 9 // not its to change
	require.Empty(t, s.transition(t, "me", change))
	want.Status, want.Completed, want.Processing, want.Result = queue.StatusCompleted, want.Started.Add(time.Second), time.Second, []byte("5")
	for range 2 {
		require.Empty(t, s.transition(t, "me", want), "repeating it is safe")
	}
	got := s.request(t, "a")
	want.Owner, want.Created, want.Queued, want.Deadline = "me", got.Created, got.Queued, got.Deadline
	require.Equal(t, want, got)
}

func (s subject) oneOutcome(t *testing.T) { //nolint:thelper // a test
	s.accept(t, "me", "a")
	end := s.job("a")
	end.Status, end.Result = queue.StatusCompleted, []byte("1")
	require.Equal(t, []string{"a"}, s.transition(t, "you", end), "it isn't yours")
	require.Equal(t, []string{"b"}, s.transition(t, "me", s.job("b")), "it isn't there")
	require.Empty(t, s.transition(t, "me", end))
	other := end
	other.Status, other.Result, other.Error = queue.StatusFailed, nil, "no"
	require.Equal(t, []string{"a"}, s.transition(t, "me", other))
	require.Equal(t, queue.StatusCompleted, s.request(t, "a").Status)
}

func (s subject) holds(t *testing.T) { //nolint:thelper // a test
	require.False(t, s.hold(t, "me", time.Minute))
	require.False(t, s.hold(t, "you", time.Minute))
	s.accept(t, "me", "a")
	require.Empty(t, s.unfinished(t, "you"))
	require.Empty(t, s.unfinished(t, "me"), "its own are known to it")
}

func (s subject) releases(t *testing.T) { //nolint:thelper // a test
	s.hold(t, "me", time.Minute)
	s.hold(t, "you", time.Minute)
	s.accept(t, "me", "a", "done")
	end := s.job("done")
	end.Status = queue.StatusCompleted
	require.Empty(t, s.transition(t, "me", end))
	require.NoError(t, s.Release(t.Context(), s.queue, "me"))
	require.Equal(t, []string{"a"}, s.unfinished(t, "you"))
	require.Equal(t, []string{"a"}, s.transition(t, "me", s.job("a")))
	require.False(t, s.hold(t, "me", time.Minute), "it has given its lease up itself")
}

func (s subject) lapses(t *testing.T) { //nolint:thelper // a test
	s.hold(t, "me", time.Second)
	s.hold(t, "you", time.Minute)
	s.accept(t, "me", "a")
	require.Eventually(t, func() bool { return len(s.unfinished(t, "you")) == 1 }, 30*time.Second, 100*time.Millisecond)
	require.True(t, s.hold(t, "me", time.Minute))
	end := s.job("a")
	end.Status = queue.StatusCompleted
	require.Equal(t, []string{"a"}, s.transition(t, "me", end))
	require.Empty(t, s.transition(t, "you", end))
	require.Equal(t, "you", s.request(t, "a").Owner)
}

func (s subject) sharesOut(t *testing.T) { //nolint:thelper // a test
	const n, heirs = 200, 8
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	s.accept(t, "dead", ids...)
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for h := range heirs {
		owner := fmt.Sprint("heir", h)
		s.hold(t, owner, time.Minute)
		wg.Go(func() {
			for {
				left, err := s.Unfinished(context.Background(), s.queue, owner, 7)
				if err != nil || len(left) == 0 {
					return
				}
				mu.Lock()
				for _, r := range left {
					got = append(got, r.ID)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.ElementsMatch(t, ids, got)
}

func (s subject) samples(t *testing.T) { //nolint:thelper // a test
	samples := []queue.Sample{{Queue: s.queue, Worker: "w", At: time.Now(), Depth: 1}, {Queue: s.queue, Worker: "w", Shard: 1, At: time.Now()}}
	for range 2 {
		require.NoError(t, s.RecordQueue(t.Context(), samples))
	}
}

func (s subject) obeys(t *testing.T) { //nolint:thelper // a test
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Accept(ctx, "me", []queue.TrackedRequest{s.job("a")})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Unfinished(ctx, s.queue, "me", 1)
	require.Error(t, err)
}
