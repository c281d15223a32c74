package queue_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
)

func TestQueue_CountsRefusalsExactly(t *testing.T) {
	t.Parallel()
	const submitters, each = 1000, 20
	for name, key := range map[string]bool{"anonymous": false, "key": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t, echo, queue.Config{Shards: 4, ShardCapacity: 1000})
			var accepted, refused atomic.Int64
			var wg sync.WaitGroup
			for i := range submitters {
				wg.Go(func() {
					job := queue.Job[int]{}
					if key {
						job.Key = strconv.Itoa(i)
					}
					for range each {
						switch err := q.Go(job); {
						case err == nil:
							accepted.Add(1)
						case errors.Is(err, queue.ErrFull):
							refused.Add(1)
						}
					}
				})
			}
			wg.Wait()
			stats := q.Stats()
			require.EqualValues(t, submitters*each, accepted.Load()+refused.Load())
			require.Equal(t, refused.Load(), stats.Refused)
			require.EqualValues(t, accepted.Load(), stats.Waiting)
			require.Equal(t, 4000, stats.Waiting)
			require.NoError(t, run(q)())
			require.Equal(t, accepted.Load(), q.Stats().Done)
		})
	}
}

func TestQueue_RunsEachJobOnceUnderLoad(t *testing.T) {
	t.Parallel()
	const submitters, each, concurrency = 50, 400, 8
	var calls [submitters * each]atomic.Int32
	var running, most atomic.Int32
	q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
		now := running.Add(1)
		for old := most.Load(); now > old; old = most.Load() {
			if most.CompareAndSwap(old, now) {
				break
			}
		}
		calls[task.Payload].Add(1)
		for range rand.IntN(3) {
			runtime.Gosched()
		}
		running.Add(-1)
		if task.Payload%100 == 0 {
			runtime.Goexit()
		}
		return task.Payload, nil
	}, queue.Config{Shards: 3, ShardCapacity: 100, Concurrency: concurrency})
	stop := run(q)
	var inconsistent atomic.Int32
	var wg sync.WaitGroup
	for s := range submitters {
		wg.Go(func() {
			for i := range each {
				job := queue.Job[int]{Payload: s*each + i}
				if i%2 == 0 {
					job.ID = strconv.Itoa(job.Payload)
				}
				if !submitUntilAccepted(t.Context(), q, job, i%3 == 0) {
					inconsistent.Add(1)
				}
				if stats := q.Stats(); stats.Active < 0 || stats.Active > concurrency || stats.Waiting > 300 {
					inconsistent.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, stop())
	require.Zero(t, inconsistent.Load())
	require.LessOrEqual(t, most.Load(), int32(concurrency))
	for i := range calls {
		require.EqualValues(t, 1, calls[i].Load(), "job %d", i)
	}
	stats := q.Stats()
	require.EqualValues(t, len(calls)/100, stats.Failed)
	require.EqualValues(t, len(calls)-len(calls)/100, stats.Done)
	require.Zero(t, stats.Waiting+stats.Active)
}

// submitUntilAccepted tries again while the queue is full. With wait it reports whether the ticket brought the
// outcome of this job.
func submitUntilAccepted(ctx context.Context, q *queue.Queue[int, int], job queue.Job[int], wait bool) bool {
	for {
		ticket, err := q.Submit(ctx, job)
		if errors.Is(err, queue.ErrFull) {
			runtime.Gosched()
			continue
		}
		if err != nil || !wait {
			return err == nil
		}
		result, err := ticket.Wait(ctx)
		return result == job.Payload || errors.Is(err, queue.ErrGoexit)
	}
}

func TestQueue_FreeWorkersTakeAnyShard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		q := newQueue(t, func(_ context.Context, task *queue.Task[bool]) (int, error) {
			if task.Payload {
				<-gate
			}
			return 0, nil
		}, queue.Config{Shards: 8, Concurrency: 8})
		stop := run(q)
		for i := range 7 {
			require.NoError(t, q.Go(queue.Job[bool]{Key: "slow" + strconv.Itoa(i), Payload: true}))
			synctest.Wait()
		}
		for i := range 1000 { // one worker is left, for eight shards
			require.NoError(t, q.Go(queue.Job[bool]{Key: strconv.Itoa(i)}))
		}
		synctest.Wait()
		require.EqualValues(t, 1000, q.Stats().Done)
		require.Equal(t, 7, q.Stats().Active)
		close(gate)
		require.NoError(t, stop())
	})
}

func TestQueue_NoShardIsLeftBehind(t *testing.T) {
	t.Parallel()
	const shards = 4
	var q *queue.Queue[bool, int]
	busy, served := 0, []int{} // touched by the only worker
	q = newQueue(t, func(_ context.Context, task *queue.Task[bool]) (int, error) {
		if task.Payload {
			served = append(served, busy)
			return 0, nil
		}
		busy++
		if busy < 10_000 && len(served) < shards { // keeps its own shard busy
			return 0, q.Go(queue.Job[bool]{Key: "busy"})
		}
		return 0, nil
	}, queue.Config{Shards: shards, Concurrency: 1})
	for range 50 {
		require.NoError(t, q.Go(queue.Job[bool]{Key: "busy"}))
	}
	for range shards {
		require.NoError(t, q.Go(queue.Job[bool]{Payload: true}))
	}
	stop := run(q)
	require.Eventually(t, func() bool { return q.Stats().Active+q.Len() == 0 }, time.Minute, time.Millisecond)
	require.NoError(t, stop())
	require.Len(t, served, shards)
	require.Less(t, served[shards-1], 100, "busy tasks went first")
}

// TestQueue_MemoryPerWaitingJob isn't parallel: it looks at the heap of the process.
func TestQueue_MemoryPerWaitingJob(t *testing.T) {
	const jobs = 200_000
	names := make([]string, jobs)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	for name, submit := range map[string]func(q *queue.Queue[int, int], i int) error{
		"Go":         func(q *queue.Queue[int, int], i int) error { return q.Go(queue.Job[int]{Payload: i}) },
		"Go with ID": func(q *queue.Queue[int, int], i int) error { return q.Go(queue.Job[int]{ID: names[i]}) },
		"Submit": func(q *queue.Queue[int, int], i int) error {
			_, err := q.Submit(context.Background(), queue.Job[int]{Payload: i})
			return err
		},
		"Submit with ID": func(q *queue.Queue[int, int], i int) error {
			_, err := q.Submit(context.Background(), queue.Job[int]{ID: names[i]})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			q := newQueue(t, echo, queue.Config{Shards: 4, ShardCapacity: jobs})
			require.Less(t, heap()-before, int64(1<<20), "nothing is set aside")
			for i := range jobs {
				if err := submit(q, i); err != nil { // require costs more than what it checks here
					t.Fatal(err)
				}
			}
			perJob := (heap() - before) / jobs
			t.Logf("%d bytes per waiting job", perJob)
			require.Less(t, perJob, int64(200))
			require.Equal(t, jobs, q.Len())
			runtime.KeepAlive(names)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestQueue_GoAllocatesNothing allows for the segments of a line that grows: one for 64 jobs.
func TestQueue_GoAllocatesNothing(t *testing.T) {
	q := newQueue(t, echo, queue.Config{})
	stop := run(q)
	submit := func() {
		for range 1000 {
			if err := q.Go(queue.Job[int]{}); err != nil {
				t.Error(err)
			}
		}
		for q.Stats().Active+q.Len() > 0 {
			runtime.Gosched()
		}
	}
	submit()
	perJob := testing.AllocsPerRun(50, submit) / 1000
	if !testserver.Race { // which has a sync.Pool forget at random
		require.Less(t, perJob, 0.05)
	}
	require.NoError(t, stop())
}
