package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
	"github.com/upbeat-go/upbeat/queue"
)

// TestQueue_EverythingAtOnce submits, cancels, pauses and resizes from all sides. Whatever becomes of a job, it becomes one thing only, it is told, and it is
// counted; and no key's jobs overtake each other or run side by side.
func TestQueue_EverythingAtOnce(t *testing.T) {
	t.Parallel()
	var all queue.Stats
	for range testserver.Times(3, 300) {
		s := chaos(t)
		all.Cancelled, all.Retried, all.Failed = all.Cancelled+s.Cancelled, all.Retried+s.Retried, all.Failed+s.Failed
	}
	require.NotZero(t, all.Cancelled*all.Retried*all.Failed, "%+v", all)
}

const chaosKeys = 16

func chaos(t *testing.T) queue.Stats {
	t.Helper()
	var wrong atomic.Int64
	var busy [chaosKeys]atomic.Bool
	var newest [chaosKeys]int64 // of the jobs of a key, by its one handler at a time
	q := newQueue(t, func(_ context.Context, task *queue.Task[int64]) (int64, error) {
		if key, err := strconv.Atoi(task.Key); err == nil {
			if !busy[key].CompareAndSwap(false, true) || task.Payload < newest[key] {
				wrong.Add(1)
			}
			newest[key] = task.Payload
			defer busy[key].Store(false)
		}
		switch rand.IntN(40) {
		case 0:
			panic("boom")
		case 1:
			runtime.Goexit()
		case 6:
			return 0, queue.Permanent(errFlaky)
		case 2, 3, 4:
			return 0, errFlaky
		case 5:
			runtime.Gosched()
		}
		return task.Payload, nil
	}, queue.Config{
		Shards: 3, ShardCapacity: 64, Concurrency: 8, DrainTimeout: time.Minute,
		Retry: queue.Retry{Attempts: 3, MinBackoff: time.Microsecond, MaxBackoff: 10 * time.Microsecond},
	})
	stop := run(q)
	var accepted, expired atomic.Int64
	var order [chaosKeys]struct {
		sync.Mutex
		next int64
	}
	var submitters, meddlers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		submitters.Go(func() {
			for range 1500 {
				job := queue.Job[int64]{Priority: rand.IntN(3) - 1}
				if rand.IntN(2) == 0 {
					job.ID = fmt.Sprint(rand.Int64())
				}
				if rand.IntN(4) == 0 {
					job.Deadline = time.Now().Add(rand.N(time.Millisecond))
				}
				var release func()
				if key := rand.IntN(2 * chaosKeys); key < chaosKeys { // the key's order is that of submission: one at a time
					job.Key = strconv.Itoa(key)
					order[key].Lock()
					release = order[key].Unlock
					order[key].next++
					job.Payload = order[key].next
				}
				ticket, err := submitSomehow(ctx, q, job)
				if release != nil {
					release()
				}
				switch {
				case err == nil:
					accepted.Add(1)
				case errors.Is(err, queue.ErrExpired):
					expired.Add(1)
				case !errors.Is(err, queue.ErrFull):
					wrong.Add(1)
				}
				if ticket != nil && rand.IntN(3) == 0 {
					ticket.Cancel()
				}
			}
		})
	}
	meddlers.Go(func() {
		for ctx.Err() == nil {
			switch rand.IntN(4) {
			case 0:
				q.Pause()
				runtime.Gosched()
				q.Resume()
			case 1:
				if q.Resize(1+rand.IntN(16)) != nil {
					wrong.Add(1)
				}
			case 2:
				q.Cancel(fmt.Sprint(rand.Int64()))
			default:
				s := q.Stats()
				if s.Waiting < 0 || s.Active < 0 || s.Active > 16 || int64(s.Waiting+s.Active)+ended(s) < 0 {
					wrong.Add(1)
				}
			}
		}
	})
	submitters.Wait()
	cancel()
	meddlers.Wait()
	require.NoError(t, stop())
	stats := q.Stats()
	require.Zero(t, wrong.Load())
	require.Equal(t, accepted.Load(), ended(stats), "%+v", stats)
	require.Zero(t, stats.Waiting+stats.Active)
	return stats
}

func ended(s queue.Stats) int64 { return s.Done + s.Failed + s.Cancelled + s.Expired + s.NotRun }

func submitSomehow(ctx context.Context, q *queue.Queue[int64, int64], job queue.Job[int64]) (*queue.Ticket[int64], error) {
	switch rand.IntN(4) {
	case 0:
		return nil, q.Go(job)
	case 1:
		return q.SubmitWait(ctx, job)
	case 2:
		tickets, err := q.SubmitBatch(ctx, []queue.Job[int64]{job})
		return tickets[0], err
	default:
		return q.Submit(ctx, job)
	}
}
