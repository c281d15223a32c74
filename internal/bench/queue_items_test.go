package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

func runQueue[T, R any](b *testing.B, handler func(context.Context, *queue.Task[T]) (R, error), cfg queue.Config) (q *queue.Queue[T, R], wait func()) {
	b.Helper()
	cfg.Logger, cfg.DrainTimeout = slog.New(slog.DiscardHandler), time.Hour
	q, err := queue.New(handler, cfg)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	return q, func() {
		cancel()
		require.NoError(b, <-ended)
	}
}

func insist(submit func() error) {
	for submit() != nil {
		<-time.After(100 * time.Microsecond)
	}
}

// BenchmarkQueue_Items is what each thing costs that a task asks for, from submission to completion.
func BenchmarkQueue_Items(b *testing.B) {
	ids := make([]string, 1<<20)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	empty := func(context.Context, *queue.Task[int]) (int, error) { return 0, nil }
	looks := func(ctx context.Context, _ *queue.Task[int]) (int, error) { return 0, ctx.Err() }
	deadline := time.Now().Add(time.Hour)
	for _, item := range []struct {
		name    string
		handler func(context.Context, *queue.Task[int]) (int, error)
		job     func(i int) queue.Job[int]
		ticket  bool
	}{
		{"nothing", empty, func(int) queue.Job[int] { return queue.Job[int]{} }, false},
		{"key of 1000", empty, func(i int) queue.Job[int] { return queue.Job[int]{Key: ids[i%1000]} }, false},
		{"priority", empty, func(i int) queue.Job[int] { return queue.Job[int]{Priority: i % 3} }, false},
		{"ticket", empty, func(int) queue.Job[int] { return queue.Job[int]{} }, true},
		{"ticket and context", looks, func(int) queue.Job[int] { return queue.Job[int]{} }, true},
		{"ticket and id", empty, func(i int) queue.Job[int] { return queue.Job[int]{ID: ids[i%len(ids)]} }, true},
		{"ticket and deadline", empty, func(int) queue.Job[int] { return queue.Job[int]{Deadline: deadline} }, true},
	} {
		b.Run(item.name, func(b *testing.B) {
			q, wait := runQueue(b, item.handler, queue.Config{})
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				job := item.job(i)
				if !item.ticket {
					insist(func() error { return q.Go(job) })
					continue
				}
				insist(func() error { _, err := q.Submit(b.Context(), job); return err })
			}
			wait()
		})
	}
	b.Run("ticket and Wait", func(b *testing.B) {
		q, wait := runQueue(b, empty, queue.Config{})
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			ticket, err := q.Submit(b.Context(), queue.Job[int]{})
			require.NoError(b, err)
			_, err = ticket.Wait(b.Context())
			require.NoError(b, err)
		}
		wait()
	})
}

// BenchmarkQueue_Sleeping is 40,000 tasks that sleep 100 ms, 4,000 at once: "ideal%" is the ideal second as a share of what it took. What 4,000 goroutines
// lose to timers and the scheduler by themselves, with no tasks to hand out, stands beside it.
func BenchmarkQueue_Sleeping(b *testing.B) {
	const tasks = 40_000
	sleep := func() { <-time.After(100 * time.Millisecond) }
	for name, all := range map[string]func(*testing.B){
		"upbeat": func(b *testing.B) { //nolint:thelper // one of the subjects
			q, wait := runQueue(b, func(context.Context, *queue.Task[int]) (int, error) { sleep(); return 0, nil }, queue.Config{})
			for range tasks {
				require.NoError(b, q.Go(queue.Job[int]{}))
			}
			wait()
		},
		"channel": func(b *testing.B) { //nolint:thelper // one of the subjects
			submit, wait := startChannel(queueWorkers, sleep)
			for range tasks {
				submit()
			}
			wait()
		},
		"pond": func(*testing.B) {
			p := pond.NewPool(queueWorkers)
			for range tasks {
				_ = p.Go(sleep)
			}
			p.StopAndWait()
		},
		"goroutines": func(*testing.B) {
			var wg sync.WaitGroup
			for range queueWorkers {
				wg.Go(func() {
					for range tasks / queueWorkers {
						sleep()
					}
				})
			}
			wg.Wait()
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				begin := time.Now()
				all(b)
				b.ReportMetric(100/time.Since(begin).Seconds(), "ideal%")
			}
		})
	}
}

// BenchmarkQueue_Queued is the time of one more submission, and the bytes of each job, where so many wait already.
func BenchmarkQueue_Queued(b *testing.B) {
	for _, depth := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				q, err := queue.New(func(context.Context, *queue.Task[int]) (int, error) { return 0, nil }, queue.Config{ShardCapacity: depth})
				require.NoError(b, err)
				for range depth - depth/10 {
					_ = q.Go(queue.Job[int]{}) // there is room
				}
				begin := time.Now()
				for range depth / 10 {
					_ = q.Go(queue.Job[int]{})
				}
				took := time.Since(begin)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(took.Nanoseconds())/float64(depth/10), "ns/submit")
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(depth), "B/job")
				require.Equal(b, depth, q.Len())
			}
		})
	}
}
