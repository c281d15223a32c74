package queue_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// model is what a queue of one shard does, in slices and counters.
type model struct {
	capacity, limit int
	paused          bool

	waiting, running, delayed []*modelJob
	stats                     queue.Stats // counters alone
	started                   []int       // payloads in the order of their start
}

type modelJob struct {
	queue.Job[int]
	attempt int
	ticket  *queue.Ticket[int]
	outcome error // once it has ended
}

var errModel = errors.New("asked to fail")

func (m *model) all() []*modelJob { return slices.Concat(m.waiting, m.running, m.delayed) }

func (m *model) unfinished(id string) bool {
	return id != "" && slices.ContainsFunc(m.all(), func(j *modelJob) bool { return j.ID == id })
}

func (m *model) submit(j *modelJob) error {
	switch {
	case m.unfinished(j.ID):
		m.stats.Duplicates++
	case len(m.waiting)+len(m.delayed) >= m.capacity:
		m.stats.Refused++
		return queue.ErrFull
	default:
		m.waiting = append(m.waiting, j)
		m.schedule()
	}
	return nil
}

// schedule starts what may start: the highest priority first.
func (m *model) schedule() {
	for !m.paused && len(m.running) < m.limit && len(m.waiting) > 0 {
		first := slices.MaxFunc(m.waiting, func(a, b *modelJob) int { return cmp.Compare(a.Priority, b.Priority) })
		m.remove(first)
		m.running = append(m.running, first)
		m.started = append(m.started, first.Payload)
	}
}

// remove takes a job out of where it is.
func (m *model) remove(j *modelJob) {
	for _, where := range []*[]*modelJob{&m.waiting, &m.running, &m.delayed} {
		*where = slices.DeleteFunc(*where, func(other *modelJob) bool { return other == j })
	}
}

func (m *model) end(j *modelJob, outcome error, counter *int64) {
	m.remove(j)
	j.outcome = outcome
	*counter++
	m.schedule()
}

func (m *model) fail(j *modelJob) {
	if j.attempt++; j.attempt >= max(1, j.Attempts) {
		m.end(j, errModel, &m.stats.Failed)
		return
	}
	m.remove(j)
	m.delayed = append(m.delayed, j)
	m.stats.Retried++
	m.schedule()
}

// advance lets all deadlines pass, one after the other, and then the pause of what waits for its next attempt.
func (m *model) advance() {
	due := slices.DeleteFunc(m.all(), func(j *modelJob) bool { return j.Deadline.IsZero() })
	slices.SortFunc(due, func(a, b *modelJob) int { return a.Deadline.Compare(b.Deadline) })
	for _, j := range due {
		m.end(j, queue.ErrExpired, &m.stats.Expired)
	}
	m.waiting = append(m.waiting, m.delayed...)
	m.delayed = nil
	m.schedule()
}

func TestQueue_BehavesLikeItsModel(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ capacity, concurrency int }{{1, 1}, {5, 2}, {150, 1}, {200, 7}} {
		t.Run(fmt.Sprintf("capacity %d concurrency %d", size.capacity, size.concurrency), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			synctest.Test(t, func(t *testing.T) {
				c := &comparison{T: t, model: &model{capacity: size.capacity, limit: size.concurrency}, random: rand.New(rand.NewPCG(seed, 0))}
				c.run()
			})
		})
	}
}

const operations = 3000 // of one comparison

// comparison does the same to a queue and to its model.
type comparison struct {
	*testing.T
	*model
	q      *queue.Queue[int, int]
	random *rand.Rand
	gates  []chan error // by payload
	starts chan int
	jobs   []*modelJob // those with a ticket
}

func (c *comparison) run() {
	c.gates, c.starts = make([]chan error, operations), make(chan int, 4*operations)
	for i := range c.gates {
		c.gates[i] = make(chan error)
	}
	c.q = newQueue(c.T, func(ctx context.Context, task *queue.Task[int]) (int, error) {
		c.starts <- task.Payload
		select {
		case err := <-c.gates[task.Payload]:
			return task.Payload, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, queue.Config{Shards: 1, ShardCapacity: c.capacity, Concurrency: c.limit, Retry: queue.Retry{MinBackoff: time.Second}})
	stop := run(c.q)
	for i := range operations {
		submissions := 4 // of 16 operations
		if i/(6*c.capacity)%2 == 0 {
			submissions = 12 // so that the queue is at times full and at times empty
		}
		if c.random.IntN(16) < submissions {
			c.submitOne(i)
		} else {
			c.meddle()
		}
		c.check()
	}
	c.q.Resume()
	c.paused = false
	c.schedule()
	for len(c.all()) > 0 {
		synctest.Wait()
		if len(c.running) > 0 {
			c.finish(c.running[0], nil)
		} else {
			c.sleep()
		}
		c.check()
	}
	for _, j := range c.jobs {
		result, err := j.ticket.Wait(c.Context())
		require.ErrorIs(c, err, j.outcome)
		if j.outcome == nil {
			require.Equal(c, j.Payload, result)
		}
	}
	s := c.stats
	require.NotZero(c, s.Done*s.Failed*s.Cancelled*s.Expired*s.Refused*s.Duplicates*s.Retried, "the operations must meet them all: %+v", s)
	require.NoError(c, stop())
}

func (c *comparison) submitOne(i int) {
	j := &modelJob{Job: queue.Job[int]{Payload: i, Attempts: c.random.IntN(4)}}
	if c.random.IntN(2) == 0 {
		j.ID = fmt.Sprint("id", c.random.IntN(c.capacity+2))
	}
	if c.random.IntN(3) == 0 {
		j.Priority = c.random.IntN(5) - 2
	}
	if c.random.IntN(8) == 0 {
		j.Deadline = time.Now().Add(500*time.Millisecond + time.Duration(i)) // no two at the same time
	}
	if c.random.IntN(2) == 0 {
		require.ErrorIs(c, c.q.Go(j.Job), c.submit(j))
		return
	}
	ticket, err := c.q.Submit(c.Context(), j.Job)
	known := c.unfinished(j.ID)
	require.ErrorIs(c, err, c.submit(j))
	if err == nil && !known {
		j.ticket = ticket
		c.jobs = append(c.jobs, j)
	}
}

// meddle does one of the other things that can be done.
func (c *comparison) meddle() {
	switch n := c.random.IntN(20); {
	case n == 0:
		c.q.Pause()
		c.paused = true
	case n <= 2:
		c.q.Resume()
		c.paused = false
		c.schedule()
	case n == 3:
		c.limit = 1 + c.random.IntN(8)
		require.NoError(c, c.q.Resize(c.limit))
		c.schedule()
	case n == 4:
		c.sleep()
	case n <= 6:
		c.cancelOne()
	case len(c.running) > 0:
		j := c.running[c.random.IntN(len(c.running))]
		c.finish(j, []error{nil, errModel}[c.random.IntN(2)])
	}
}

func (c *comparison) finish(j *modelJob, err error) {
	if err != nil && len(c.delayed) > 0 {
		c.sleep() // two would come back in any order
		if !slices.Contains(c.running, j) {
			return
		}
		synctest.Wait()
	}
	c.gates[j.Payload] <- err
	if err != nil {
		c.fail(j)
		return
	}
	c.end(j, nil, &c.stats.Done)
}

func (c *comparison) cancelOne() {
	all := c.all()
	if len(all) == 0 {
		return
	}
	switch j := all[c.random.IntN(len(all))]; {
	case j.ticket != nil:
		require.True(c, j.ticket.Cancel())
		c.end(j, queue.ErrCancelled, &c.stats.Cancelled)
	case j.ID != "":
		require.True(c, c.q.Cancel(j.ID))
		c.end(j, queue.ErrCancelled, &c.stats.Cancelled)
	}
}

func (c *comparison) sleep() {
	synctest.Wait()
	<-time.After(2 * time.Second)
	c.advance()
}

func (c *comparison) check() {
	synctest.Wait()
	var got []int
	for len(c.starts) > 0 {
		got = append(got, <-c.starts)
	}
	if c.q.Stats().Concurrency > 1 || len(c.started) > 1 { // those that start at once do so in any order
		slices.Sort(got)
		slices.Sort(c.started)
	}
	require.Equal(c, c.started, got)
	c.started = nil
	waiting := len(c.waiting) + len(c.delayed)
	require.Equal(c, waiting, c.q.Len())
	want := c.stats
	want.Waiting, want.Active, want.Paused = waiting, len(c.running), c.paused
	want.Depths, want.Capacity, want.Concurrency = []int{waiting}, c.capacity, c.limit
	want.Utilisation = float64(len(c.running)) / float64(c.limit)
	stats := c.q.Stats()
	stats.RetryAfterSeconds, stats.Wait, stats.Run, stats.Efficiency = 0, queue.Percentiles{}, queue.Percentiles{}, 0
	require.Equal(c, want, stats)
}
