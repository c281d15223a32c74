package bench_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/queue"
)

const queueWorkers = 4000

// BenchmarkQueue_EmptyTask is the time from submission to completion of a task that does nothing.
func BenchmarkQueue_EmptyTask(b *testing.B) {
	b.Run("upbeat", func(b *testing.B) {
		submit, wait := startQueue(b)
		b.ReportAllocs()
		for b.Loop() {
			submit()
		}
		wait()
	})
	b.Run("channel", func(b *testing.B) {
		submit, wait := startChannel(queueWorkers)
		b.ReportAllocs()
		for b.Loop() {
			submit()
		}
		wait()
	})
}

// BenchmarkQueue_ParallelSubmitters is the same with a submitter for each processor.
func BenchmarkQueue_ParallelSubmitters(b *testing.B) {
	b.Run("upbeat", func(b *testing.B) {
		submit, wait := startQueue(b)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				submit()
			}
		})
		wait()
	})
	b.Run("channel", func(b *testing.B) {
		submit, wait := startChannel(queueWorkers)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				submit()
			}
		})
		wait()
	})
}

// startQueue returns what submits one task, again while the queue is full, and what waits until all are done.
func startQueue(b *testing.B) (submit, wait func()) {
	b.Helper()
	var pending sync.WaitGroup
	q, err := queue.New(func(context.Context, *queue.Task[struct{}]) (struct{}, error) {
		pending.Done()
		return struct{}{}, nil
	}, queue.Config{Concurrency: queueWorkers, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-ended)
	})
	return func() {
		pending.Add(1)
		for q.Go(queue.Job[struct{}]{}) != nil { //nolint:revive // a full queue says no: this submitter insists
		}
	}, pending.Wait
}

// startChannel is what people assemble by hand: a buffered channel and so many goroutines on it.
func startChannel(workers int) (submit, wait func()) {
	var pending sync.WaitGroup
	tasks := make(chan func(), 400_000)
	for range workers {
		go func() {
			for task := range tasks {
				task()
			}
		}()
	}
	task := pending.Done
	return func() {
			pending.Add(1)
			tasks <- task
		}, func() {
			pending.Wait()
			close(tasks)
		}
}
