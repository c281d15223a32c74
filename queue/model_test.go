package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// model is what a queue of one shard does, in slices and counters.
type model struct {
	capacity, concurrency    int
	waiting, running         []queue.Job[int]
	done, failed             int64
	refused, duplicates      int64
	started, expectedStarted []int // payloads in the order of their start
}

var errModel = errors.New("asked to fail")

func (m *model) unfinished(id string) bool {
	same := func(j queue.Job[int]) bool { return j.ID == id }
	return id != "" && (slices.ContainsFunc(m.waiting, same) || slices.ContainsFunc(m.running, same))
}

func (m *model) submit(job queue.Job[int]) error {
	switch {
	case m.unfinished(job.ID):
		m.duplicates++
	case len(m.waiting) == m.capacity:
		m.refused++
		return queue.ErrFull
	default:
		m.waiting = append(m.waiting, job)
		m.schedule()
	}
	return nil
}

func (m *model) finish(i int, err error) {
	m.running = slices.Delete(m.running, i, i+1)
	if err == nil {
		m.done++
	} else {
		m.failed++
	}
	m.schedule()
}

func (m *model) schedule() {
	for len(m.running) < m.concurrency && len(m.waiting) > 0 {
		m.expectedStarted = append(m.expectedStarted, m.waiting[0].Payload)
		m.running = append(m.running, m.waiting[0])
		m.waiting = m.waiting[1:]
	}
}

func TestQueue_BehavesLikeItsModel(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ capacity, concurrency int }{{1, 1}, {5, 2}, {150, 1}, {200, 7}} {
		t.Run(fmt.Sprintf("capacity %d concurrency %d", size.capacity, size.concurrency), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			synctest.Test(t, func(t *testing.T) { compare(t, size.capacity, size.concurrency, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

const operations = 3000 // of one comparison

func compare(t *testing.T, capacity, concurrency int, random *rand.Rand) {
	t.Helper()
	m := &model{capacity: capacity, concurrency: concurrency}
	gates := make([]chan error, operations) // by payload
	for i := range gates {
		gates[i] = make(chan error, 1)
	}
	starts := make(chan int, operations)
	q := newQueue(t, func(_ context.Context, task *queue.Task[int]) (int, error) {
		starts <- task.Payload
		return task.Payload, <-gates[task.Payload]
	}, queue.Config{Shards: 1, ShardCapacity: capacity, Concurrency: concurrency})
	stop := run(q)
	tickets := make([]*queue.Ticket[int], operations)

	finish := func(i int, err error) {
		job := m.running[i]
		gates[job.Payload] <- err
		m.finish(i, err)
		if ticket := tickets[job.Payload]; ticket != nil {
			result, got := ticket.Wait(t.Context())
			require.Equal(t, err, got)
			require.Equal(t, job.Payload, result)
		}
	}
	for i := range operations {
		job := queue.Job[int]{Payload: i}
		submissions := 2 // of 8 operations
		if i/(6*capacity)%2 == 0 {
			submissions = 6 // so that the queue is at times full and at times empty
		}
		switch {
		case random.IntN(8) < submissions:
			if random.IntN(2) == 0 {
				job.ID = fmt.Sprint("id", random.IntN(capacity+2))
			}
			if random.IntN(2) == 0 {
				require.ErrorIs(t, q.Go(job), m.submit(job))
				break
			}
			ticket, err := q.Submit(t.Context(), job)
			known := m.unfinished(job.ID)
			require.ErrorIs(t, err, m.submit(job))
			if err == nil && !known {
				tickets[i] = ticket
			}
		case len(m.running) > 0:
			finish(random.IntN(len(m.running)), []error{nil, errModel}[random.IntN(2)])
		}
		synctest.Wait()
		m.check(t, q, starts)
	}
	for len(m.running) > 0 {
		finish(0, nil)
	}
	synctest.Wait()
	m.check(t, q, starts)
	require.NotZero(t, m.refused*m.duplicates, "the operations must meet both")
	require.NoError(t, stop())
}

func (m *model) check(t *testing.T, q *queue.Queue[int, int], starts chan int) {
	t.Helper()
	for len(starts) > 0 {
		m.started = append(m.started, <-starts)
	}
	if m.concurrency > 1 { // two that start at once do so in any order
		slices.Sort(m.started)
		slices.Sort(m.expectedStarted)
	}
	require.Equal(t, m.expectedStarted, m.started)
	m.started, m.expectedStarted = nil, nil
	require.Equal(t, len(m.waiting), q.Len())
	stats := q.Stats()
	stats.RetryAfterSeconds, stats.Wait, stats.Run, stats.Efficiency = 0, queue.Percentiles{}, queue.Percentiles{}, 0
	require.Equal(t, queue.Stats{
		Waiting: len(m.waiting), Active: len(m.running), Done: m.done, Failed: m.failed,
		Refused: m.refused, Duplicates: m.duplicates,
		Depths: []int{len(m.waiting)}, Capacity: m.capacity, Concurrency: m.concurrency, Utilisation: float64(len(m.running)) / float64(m.concurrency),
	}, stats)
}
