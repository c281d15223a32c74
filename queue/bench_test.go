package queue_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

// BenchmarkGo measures empty tasks from submission to the end of the last, with one submitter and with one per CPU,
// beside a bare channel that as many workers read from.
func BenchmarkGo(b *testing.B) {
	const concurrency = 4000
	b.Run("queue/one", func(b *testing.B) {
		submit, wait := startQueue(b, concurrency)
		b.ReportAllocs()
		for b.Loop() {
			submit()
		}
		wait()
	})
	b.Run("queue/parallel", func(b *testing.B) {
		submit, wait := startQueue(b, concurrency)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				submit()
			}
		})
		wait()
	})
	b.Run("channel/one", func(b *testing.B) {
		submit, wait := startChannel(concurrency)
		b.ReportAllocs()
		for b.Loop() {
			submit()
		}
		wait()
	})
	b.Run("channel/parallel", func(b *testing.B) {
		submit, wait := startChannel(concurrency)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				submit()
			}
		})
		wait()
	})
}

// BenchmarkSubmit measures a round trip: submit an empty task and wait for its ticket.
func BenchmarkSubmit(b *testing.B) {
	for name, id := range map[string]string{"anonymous": "", "id": "job"} {
		b.Run(name, func(b *testing.B) {
			q := start(b, func(context.Context, *queue.Task[int]) (int, error) { return 0, nil }, queue.Config{})
			b.ReportAllocs()
			for b.Loop() {
				ticket, err := q.Submit(b.Context(), queue.Job[int]{ID: id})
				require.NoError(b, err)
				_, err = ticket.Wait(b.Context())
				require.NoError(b, err)
			}
		})
	}
}

func startQueue(b *testing.B, concurrency int) (submit, wait func()) {
	b.Helper()
	q, err := queue.New(func(context.Context, *queue.Task[int]) (struct{}, error) { return struct{}{}, nil },
		queue.Config{Concurrency: concurrency})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = q.Run(ctx) })
	submit = func() {
		for q.Go(queue.Job[int]{}) != nil {
			runtime.Gosched()
		}
	}
	return submit, func() { cancel(); wg.Wait() }
}

func startChannel(workers int) (submit, wait func()) {
	jobs := make(chan int, 400_000)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range jobs {
			}
		})
	}
	return func() { jobs <- 0 }, func() { close(jobs); wg.Wait() }
}
