package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

// TestTracker_SupersededOwner stops a process for longer than its lease, as SIGSTOP does: then it wakes up.
func TestTracker_SupersededOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		var asleep atomic.Bool
		frozen := &gate{Tracker: &m, closed: &asleep}
		sleepy := newQueue(t, sleeper, queue.Config{Tracker: frozen, Owner: "sleepy", Concurrency: 1})
		stopSleepy := run(sleepy)
		running := mustSubmit(t, sleepy, queue.Job[time.Duration]{ID: "running", Payload: 3 * time.Minute})
		synctest.Wait()
		waiting := mustSubmit(t, sleepy, queue.Job[time.Duration]{ID: "waiting", Payload: time.Second})
		synctest.Wait()
		asleep.Store(true)
		heir := newQueue(t, sleeper, queue.Config{Tracker: &m, Owner: "heir"})
		stopHeir := run(heir)
		<-time.After(time.Minute)
		require.EqualValues(t, 2, heir.Stats().Tracked.Recovered)
		require.Equal(t, 1, sleepy.Stats().Active, "it doesn't know yet")
		asleep.Store(false)
		<-time.After(15 * time.Second)
		for _, ticket := range []*queue.Ticket[string]{running, waiting} {
			_, err := ticket.Wait(t.Context())
			require.ErrorIs(t, err, queue.ErrSuperseded)
		}
		require.EqualValues(t, 2, sleepy.Stats().Superseded)
		require.Zero(t, sleepy.Stats().Active+sleepy.Len())
		<-time.After(5 * time.Minute)
		for _, id := range []string{"running", "waiting"} {
			r := request(t, &m, id)
			require.Equal(t, queue.StatusCompleted, r.Status)
			require.Equal(t, "heir", r.Worker)
		}
		_, err := mustSubmit(t, sleepy, queue.Job[time.Duration]{ID: "running"}).Wait(t.Context())
		require.NoError(t, err, "its outcome is the heir's")
		require.NoError(t, stopSleepy())
		require.NoError(t, stopHeir())
	})
}

// gate is a tracker whose callers are stopped in the middle of the call while it is closed.
type gate struct {
	queue.Tracker
	closed *atomic.Bool
}

func (g *gate) Hold(_ context.Context, name, owner string, d time.Duration) (bool, error) {
	for g.closed.Load() {
		<-time.After(time.Second)
	}
	return g.Tracker.Hold(context.Background(), name, owner, d)
}

func TestTracker_LostCommit(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"was stored": true, "was not stored": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var m queuetest.Memory
				var runs atomic.Int32
				q := newQueue(t, func(context.Context, *queue.Task[int]) (int, error) { return int(runs.Add(1)), nil }, queue.Config{Tracker: &m})
				stop := run(q)
				synctest.Wait()
				m.Fail(func(method string) (before, after error) {
					if method != "Accept" {
						return nil, nil
					}
					if stored {
						return nil, queuetest.Outage
					}
					return queuetest.Outage, nil
				})
				_, err := q.Submit(t.Context(), queue.Job[int]{ID: "a"})
				require.ErrorIs(t, err, queue.ErrUnknown)
				require.Zero(t, q.Len(), "it has no place")
				require.Equal(t, 1, q.Stats().Tracked.Unknown)
				_, err = q.Submit(t.Context(), queue.Job[int]{ID: "b"})
				require.ErrorIs(t, err, queue.ErrOutage)
				m.Fail(nil)
				<-time.After(time.Minute)
				synctest.Wait()
				require.Zero(t, q.Stats().Tracked.Unknown)
				if stored {
					require.EqualValues(t, 1, runs.Load(), "what was stored is run, though nobody came back for it")
				} else {
					require.Zero(t, runs.Load())
				}
				result, err := mustSubmit(t, q, queue.Job[int]{ID: "a"}).Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, result, "submitting it again is safe")
				require.EqualValues(t, 1, runs.Load())
				require.NoError(t, stop())
			})
		})
	}
}

func TestTracker_Outage(t *testing.T) {
	t.Parallel()
	for name, untracked := range map[string]bool{"refuse": false, "accept untracked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var m queuetest.Memory
				q := newQueue(t, sleeper, queue.Config{Tracker: &m, AcceptUntracked: untracked})
				stop := run(q)
				before := mustSubmit(t, q, queue.Job[time.Duration]{ID: "before", Payload: time.Minute})
				synctest.Wait()
				m.Fail(func(string) (before, after error) { return queuetest.Outage, nil })
				<-time.After(15 * time.Second)
				require.True(t, q.Stats().Tracked.Outage, "the lease told")
				ticket, err := q.Submit(t.Context(), queue.Job[time.Duration]{ID: "during", Payload: time.Second})
				if untracked {
					require.NoError(t, err)
					_, err = ticket.Wait(t.Context())
					require.NoError(t, err)
					require.EqualValues(t, 1, q.Stats().Tracked.Untracked)
				} else {
					require.ErrorIs(t, err, queue.ErrOutage)
					require.EqualValues(t, 1, q.Stats().Tracked.Refused)
				}
				_, err = before.Wait(t.Context())
				require.NoError(t, err, "what was accepted goes on")
				require.Equal(t, queue.StatusProcessing, m.Requests()[0].Status)
				again := mustSubmit(t, q, queue.Job[time.Duration]{ID: "before"})
				require.Same(t, before, again, "its ID is known until its outcome is recorded")
				m.Fail(nil)
				<-time.After(10 * time.Second)
				require.Equal(t, queue.StatusCompleted, m.Requests()[0].Status, "its outcome is recorded later")
				require.Equal(t, 0, q.Stats().Tracked.Unrecorded)
				mustSubmit(t, q, queue.Job[time.Duration]{ID: "during"})
				require.NoError(t, stop())
				require.Len(t, m.Requests(), 2)
			})
		})
	}
}

func TestTracker_DownAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m queuetest.Memory
		q := newQueue(t, sleeper, queue.Config{Tracker: &m})
		stop := run(q)
		mustSubmit(t, q, queue.Job[time.Duration]{Payload: time.Second})
		synctest.Wait()
		m.Fail(func(string) (before, after error) { return queuetest.Outage, nil })
		err := stop()
		require.ErrorContains(t, err, "queue: 1 outcomes are not recorded")
		require.ErrorIs(t, err, queuetest.Outage)
	})
}
