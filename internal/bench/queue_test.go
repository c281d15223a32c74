package bench_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/gammazero/workerpool"
	"github.com/panjf2000/ants/v2"
	"github.com/sourcegraph/conc/pool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/upbeat-go/upbeat/queue"
)

const (
	queueWorkers  = 4000
	queueCapacity = 400_000 // what may wait, where a pool has a bound for it
)

// starter makes a pool and returns what submits one empty task to it, and what waits until all are done and stops it, both by the pool's own means.
type starter func(b *testing.B) (submit, wait func())

var queuePeers = map[string]starter{
	"upbeat":    startQueue,
	"channel":   func(*testing.B) (submit, wait func()) { return startChannel(queueWorkers, empty) },
	"channel8":  func(*testing.B) (submit, wait func()) { return startChannel(8, empty) },
	"pond":      startPond,
	"ants":      startAnts,
	"conc":      startConc,
	"errgroup":  startErrgroup,
	"gammazero": startGammazero,
}

// BenchmarkQueue_EmptyTask is the time from submission to completion of a task that does nothing, one goroutine submitting.
func BenchmarkQueue_EmptyTask(b *testing.B) {
	for name, start := range queuePeers {
		b.Run(name, func(b *testing.B) {
			submit, wait := start(b)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				submit()
			}
			wait()
		})
	}
}

// BenchmarkQueue_ParallelSubmitters is the same with 16 submitters for each processor.
func BenchmarkQueue_ParallelSubmitters(b *testing.B) {
	for name, start := range queuePeers {
		if name == "gammazero" || name == "conc" {
			continue // one goroutine hands over what all submit: measured once above; conc's pool isn't meant to be submitted to side by side
		}
		b.Run(name, func(b *testing.B) {
			submit, wait := start(b)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					submit()
				}
			})
			wait()
		})
	}
}

func empty() {}

// startQueue insists where the queue says no.
func startQueue(b *testing.B) (submit, wait func()) {
	b.Helper()
	q, err := queue.New(func(context.Context, *queue.Task[struct{}]) (struct{}, error) { return struct{}{}, nil },
		queue.Config{Concurrency: queueWorkers, Logger: slog.New(slog.DiscardHandler), DrainTimeout: time.Hour})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	return func() {
			for q.Go(queue.Job[struct{}]{}) != nil {
				<-time.After(100 * time.Microsecond)
			}
		}, func() {
			cancel()
			require.NoError(b, <-ended)
			require.EqualValues(b, b.N, q.Stats().Done)
		}
}

// startChannel is what people assemble by hand: a buffered channel and so many goroutines on it.
func startChannel(workers int, work func()) (submit, wait func()) {
	tasks := make(chan func(), queueCapacity)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for task := range tasks {
				task()
			}
		})
	}
	return func() { tasks <- work }, func() {
		close(tasks)
		wg.Wait()
	}
}

func startPond(*testing.B) (submit, wait func()) {
	p := pond.NewPool(queueWorkers, pond.WithQueueSize(queueCapacity))
	return func() { _ = p.Go(empty) }, p.StopAndWait
}

func startAnts(b *testing.B) (submit, wait func()) {
	b.Helper()
	p, err := ants.NewPool(queueWorkers)
	require.NoError(b, err)
	return func() { _ = p.Submit(empty) }, func() { _ = p.ReleaseTimeout(time.Minute) }
}

func startConc(*testing.B) (submit, wait func()) {
	p := pool.New().WithMaxGoroutines(queueWorkers)
	return func() { p.Go(empty) }, p.Wait
}

func startErrgroup(*testing.B) (submit, wait func()) {
	var g errgroup.Group
	g.SetLimit(queueWorkers)
	task := func() error { return nil }
	return func() { g.Go(task) }, func() { _ = g.Wait() }
}

func startGammazero(*testing.B) (submit, wait func()) {
	p := workerpool.New(queueWorkers)
	return func() { p.Submit(empty) }, p.StopWait
}
