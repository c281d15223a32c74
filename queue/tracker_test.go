package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

func request(t *testing.T, m *queuetest.Memory, id string) queue.TrackedRequest {
	t.Helper()
	r, found, err := m.Request(t.Context(), "default", id)
	require.NoError(t, err)
	require.True(t, found)
	return r
}

func TestTracker_Lifecycle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		q := newQueue(t, func(ctx context.Context, task *queue.Task[int]) (int, error) {
			<-time.After(time.Second)
			double, err := queue.Step(ctx, task, "double", func(context.Context) (int, error) { return 2 * task.Payload, nil })
			<-time.After(time.Second)
			if task.Payload < 0 {
				return 0, errFlaky
			}
			return double, err
		}, queue.Config{Tracker: &m, Concurrency: 2})
		stop := run(q)
		begin := time.Now()
		mustSubmit(t, q, queue.Job[int]{Payload: 1})
		synctest.Wait()
		ticket := mustSubmit(t, q, queue.Job[int]{ID: "a", Key: "k", Priority: 3, Payload: 21, Deadline: begin.Add(time.Hour)})
		waits := mustSubmit(t, q, queue.Job[int]{ID: "b", Key: "k", Payload: -1})
		require.Equal(t, queue.StatusQueued, request(t, &m, "b").Status, "it is stored before Submit returns")
		synctest.Wait()
		r := request(t, &m, "a")
		require.Equal(t, queue.StatusProcessing, r.Status)
		require.Equal(t, 1, r.Attempts)

		<-time.After(1500 * time.Millisecond)
		require.Equal(t, "double", request(t, &m, "a").Steps[0].Name, "steps are recorded as they end")
		require.True(t, q.Stats().Tracked.Accepted == 3 && q.Stats().Tracked.Unrecorded == 0)
		result, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 42, result)
		_, err = waits.Wait(t.Context())
		require.ErrorIs(t, err, errFlaky)
		synctest.Wait()
		r = request(t, &m, "a")
		require.Equal(t, queue.TrackedRequest{
			Queue: "default", ID: "a", Key: "k", Priority: 3, Deadline: begin.Add(time.Hour), Payload: []byte("21"), Status: queue.StatusCompleted,
			Worker: r.Owner, Attempts: 1, Created: begin, Queued: begin, Started: begin, Completed: begin.Add(2 * time.Second), Processing: 2 * time.Second,
			Steps: []queue.StepRecord{{Name: "double", Attempt: 1, Started: begin.Add(time.Second), Result: []byte("42")}}, Result: []byte("42"), Owner: r.Owner,
		}, r)
		r = request(t, &m, "b")
		require.Equal(t, queue.StatusFailed, r.Status)
		require.Equal(t, "flaky", r.Error)

		again := mustSubmit(t, q, queue.Job[int]{ID: "a", Payload: 5})
		result, err = again.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 42, result, "an ID that the tracker knows is not run again")
		require.Equal(t, "double", again.Steps()[0].Name)
		_, err = mustSubmit(t, q, queue.Job[int]{ID: "b"}).Wait(t.Context())
		require.EqualError(t, err, "flaky")
		_, isRecorded := errors.AsType[*queue.RecordedError](err)
		require.True(t, isRecorded)
		require.Zero(t, q.Len())
		got, found, err := q.Request(t.Context(), "a")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, queue.StatusCompleted, got.Status)
		require.NoError(t, stop())
	})
}

func TestTracker_CancelledAndExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		q := newQueue(t, sleeper, queue.Config{Tracker: &m, Concurrency: 1})
		stop := run(q)
		mustSubmit(t, q, queue.Job[time.Duration]{ID: "runs", Payload: time.Hour})
		synctest.Wait()
		mustSubmit(t, q, queue.Job[time.Duration]{ID: "waits"})
		mustSubmit(t, q, queue.Job[time.Duration]{ID: "expires", Deadline: time.Now().Add(time.Second)})
		require.True(t, q.Cancel("waits"))
		<-time.After(2 * time.Second)
		require.True(t, q.Cancel("runs"))
		synctest.Wait()
		for id, want := range map[string]error{"runs": queue.ErrCancelled, "waits": queue.ErrCancelled, "expires": queue.ErrExpired} {
			r := request(t, &m, id)
			require.Equal(t, queue.StatusCancelled, r.Status, id)
			require.Equal(t, want.Error(), r.Error, id)
		}
		require.NoError(t, stop())
	})
}

func TestTracker_SubmissionsShareCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		var accepts atomic.Int32
		m.Fail(func(method string) (before, after error) {
			if method == "Accept" {
				accepts.Add(1)
				<-time.After(10 * time.Millisecond)
			}
			return nil, nil
		})
		q := newQueue(t, echo, queue.Config{Tracker: &m})
		stop := run(q)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { mustSubmit(t, q, queue.Job[int]{Payload: i}) })
		}
		wg.Wait()
		require.LessOrEqual(t, time.Since(begin), 50*time.Millisecond)
		require.Less(t, accepts.Load(), int32(10))
		accepts.Store(0)
		tickets, err := q.SubmitBatch(t.Context(), make([]queue.Job[int], 500))
		require.NoError(t, err)
		require.Len(t, tickets, 500)
		require.EqualValues(t, 1, accepts.Load())
		require.NoError(t, stop())
		require.EqualValues(t, 1500, q.Stats().Done)
		for _, r := range m.Requests() {
			require.Equal(t, queue.StatusCompleted, r.Status)
		}
	})
}

// TestTracker_SurvivesTheProcess leaves a queue as a process leaves it that is killed: nobody renews its lease.
func TestTracker_SurvivesTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		dead := newQueue(t, echo, queue.Config{Tracker: &m, Owner: "dead"}) // it never runs
		for i := range 100 {
			mustSubmit(t, dead, queue.Job[int]{ID: fmt.Sprint(i), Payload: i})
		}
		q := newQueue(t, echo, queue.Config{Tracker: &m, Owner: "heir", Shards: 2, ShardCapacity: 10, Concurrency: 5})
		stop := run(q)
		_, err := q.Submit(t.Context(), queue.Job[int]{ID: "7"})
		require.ErrorIs(t, err, queue.ErrElsewhere, "its owner might be alive")
		<-time.After(29 * time.Second)
		require.Zero(t, q.Stats().Done)
		<-time.After(31 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 100, q.Stats().Done)
		require.EqualValues(t, 100, q.Stats().Tracked.Recovered)
		for i, r := range m.Requests() {
			require.Equal(t, queue.StatusCompleted, r.Status)
			require.Equal(t, fmt.Sprint(i), string(r.Result))
			require.Equal(t, "heir", r.Owner)
		}
		require.NoError(t, stop())
	})
}

func TestTracker_TakesNoMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		dead := newQueue(t, sleeper, queue.Config{Tracker: &m})
		for range 100 {
			mustSubmit(t, dead, queue.Job[time.Duration]{Payload: time.Minute})
		}
		q := newQueue(t, sleeper, queue.Config{Tracker: &m, Shards: 3, ShardCapacity: 4, Concurrency: 1})
		stop := run(q)
		for range 300 {
			<-time.After(10 * time.Second)
			stats := q.Stats()
			require.LessOrEqual(t, stats.Waiting, 12)
			require.LessOrEqual(t, stats.Active, 1)
		}
		require.LessOrEqual(t, q.Stats().Tracked.Recovered, q.Stats().Done+13)
		for q.Stats().Done < 100 {
			<-time.After(time.Minute)
		}
		require.NoError(t, stop())
	})
}

func TestTracker_RecoversSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		calls := new(sync.Map)
		hang := make(chan struct{})
		defer close(hang)
		dead := newQueue(t, func(ctx context.Context, task *queue.Task[int]) (int, error) {
			_, _ = queue.Step(ctx, task, "step1", func(context.Context) (int, error) { return 77, nil })
			<-hang
			return 0, nil
		}, queue.Config{Tracker: &m, DrainTimeout: -1})
		stopDead := run(dead)
		mustSubmit(t, dead, queue.Job[int]{ID: "a", Payload: 1})
		<-time.After(time.Second)
		require.ErrorContains(t, stopDead(), `"a"`, "the dead one was stuck")

		q := newQueue(t, pipeline(calls), queue.Config{Tracker: &m, Retry: queue.Retry{Attempts: 2}})
		stop := run(q)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		r := request(t, &m, "a")
		require.Equal(t, queue.StatusCompleted, r.Status)
		require.Equal(t, "80", string(r.Result), "77 from the first life")
		_, ran := calls.Load("step1")
		require.False(t, ran)
		require.NoError(t, stop())
	})
}

func TestTracker_DrainLeavesTheRestToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		first := newQueue(t, sleeper, queue.Config{Tracker: &m, Concurrency: 2, DrainTimeout: time.Second})
		stop := run(first)
		for range 10 {
			mustSubmit(t, first, queue.Job[time.Duration]{Payload: 10 * time.Second})
		}
		synctest.Wait()
		require.Equal(t, &queue.DrainError{Timeout: time.Second, NotRun: 8, Cancelled: 2}, stop())
		second := newQueue(t, sleeper, queue.Config{Tracker: &m, Concurrency: 10})
		begin := time.Now()
		stop = run(second)
		for second.Stats().Done < 10 {
			<-time.After(time.Second)
		}
		require.LessOrEqual(t, time.Since(begin), 11*time.Second, "the lease was given up: nobody waits for its end")
		require.NoError(t, stop())
	})
}

func TestTracker_OneBadJobDoesNotSpoilItsCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		picky := &picky{Memory: &m}
		q := newQueue(t, echo, queue.Config{Tracker: picky})
		stop := run(q)
		tickets, err := q.SubmitBatch(t.Context(), []queue.Job[int]{{ID: "good"}, {ID: "bad"}, {ID: "fine"}, {ID: "a\x00b"}, {ID: strings.Repeat("x", 513)}, {Key: "\xff"}})
		require.ErrorContains(t, err, "not stored: bad")
		require.ErrorContains(t, err, `Job.ID is "a\x00b"`)
		require.ErrorContains(t, err, `Job.Key is "\xff"`)
		require.NotNil(t, tickets[0])
		require.NotNil(t, tickets[2])
		for _, i := range []int{1, 3, 4, 5} {
			require.Nil(t, tickets[i])
		}
		require.NoError(t, stop())
		require.Len(t, m.Requests(), 2)
		require.Zero(t, q.Len())
	})
}

type picky struct{ *queuetest.Memory }

func (p *picky) Accept(ctx context.Context, owner string, rs []queue.TrackedRequest) ([]queue.TrackedRequest, error) {
	for _, r := range rs {
		if r.ID == "bad" {
			return nil, errors.New("bad")
		}
	}
	return p.Memory.Accept(ctx, owner, rs)
}

func TestTracker_AnyBytesWithoutOne(t *testing.T) {
	t.Parallel()
	q := start(t, echo, queue.Config{})
	for _, id := range []string{"a\x00b", "\xff\xfe", strings.Repeat("x", 100_000)} {
		_, err := mustSubmit(t, q, queue.Job[int]{ID: id, Key: id}).Wait(t.Context())
		require.NoError(t, err)
	}
}

func TestTracker_RefusesWhenFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		q := newQueue(t, echo, queue.Config{Tracker: &m, Shards: 2, ShardCapacity: 50})
		var full atomic.Int32
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				if err := q.Go(queue.Job[int]{}); errors.Is(err, queue.ErrFull) {
					full.Add(1)
				}
			})
		}
		wg.Wait()
		require.Positive(t, full.Load())
		require.Len(t, m.Requests(), 300-int(full.Load()), "what is refused is not stored")
		require.EqualValues(t, full.Load(), q.Stats().Refused)
		require.LessOrEqual(t, q.Len(), 100)
		require.NoError(t, run(q)())
		require.EqualValues(t, 300-full.Load(), q.Stats().Done)
	})
}

func TestTracker_Samples(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		q := newQueue(t, sleeper, queue.Config{Tracker: &m, Name: "orders", Owner: "me", Shards: 2, Concurrency: 4, SampleEvery: time.Second})
		stop := run(q)
		for range 20 {
			mustSubmit(t, q, queue.Job[time.Duration]{Payload: 1500 * time.Millisecond})
		}
		<-time.After(2500 * time.Millisecond)
		var depth, active, processed int64
		samples := m.Samples()
		require.Len(t, samples, 4)
		for _, s := range samples[2:] {
			require.Equal(t, "orders", s.Queue)
			require.Equal(t, "me", s.Worker)
			depth, active, processed = depth+int64(s.Depth), active+int64(s.Active), processed+s.Processed
		}
		require.EqualValues(t, []int64{12, 4, 4}, []int64{depth, active, processed})
		require.NoError(t, stop())
	})
}

func TestTracker_UnreadablePayload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		_, err := m.Accept(t.Context(), "old", []queue.TrackedRequest{{Queue: "default", ID: "a", Payload: []byte(`"text"`), Status: queue.StatusQueued}})
		require.NoError(t, err)
		q := newQueue(t, echo, queue.Config{Tracker: &m})
		stop := run(q)
		synctest.Wait()
		r := request(t, &m, "a")
		require.Equal(t, queue.StatusFailed, r.Status)
		require.Contains(t, r.Error, "can't be read")
		require.Zero(t, q.Len())
		require.NoError(t, stop())
		_, err = q.Submit(t.Context(), queue.Job[int]{})
		require.ErrorIs(t, err, queue.ErrClosed)
	})
}

func TestTracker_PayloadThatJSONCannotHold(t *testing.T) {
	t.Parallel()
	var m queuetest.Memory
	q := newQueue(t, func(context.Context, *queue.Task[func()]) (int, error) { return 0, nil }, queue.Config{Tracker: &m})
	_, err := q.Submit(t.Context(), queue.Job[func()]{})
	_, isJSON := errors.AsType[*json.UnsupportedTypeError](err)
	require.True(t, isJSON)
}
