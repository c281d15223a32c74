package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/upbeat-go/upbeat/queue"
	"github.com/upbeat-go/upbeat/queue/queuetest"
)

// A pipeline of two steps side by side and one that joins their results. With a tracker (here one for tests, in a service a store), each is kept
// as soon as it is done.
func ExampleStep() {
	handler := func(ctx context.Context, t *queue.Task[int]) (int, error) {
		var double, square int
		err := queue.Together(ctx,
			func(ctx context.Context) (err error) {
				double, err = queue.Step(ctx, t, "double", func(context.Context) (int, error) { return 2 * t.Payload, nil })
				return err
			},
			func(ctx context.Context) (err error) {
				square, err = queue.Step(ctx, t, "square", func(context.Context) (int, error) { return t.Payload * t.Payload, nil })
				return err
			})
		if err != nil {
			return 0, err
		}
		return queue.Step(ctx, t, "sum", func(context.Context) (int, error) { return double + square, nil })
	}
	var tracker queuetest.Memory
	q, err := queue.New(handler, queue.Config{Tracker: &tracker, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Run(ctx); err != nil {
			fmt.Println(err)
		}
	})
	ticket, err := q.Submit(ctx, queue.Job[int]{ID: "job-1", Payload: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ticket.Wait(ctx))
	stop()
	wg.Wait() // the outcome is recorded
	for _, r := range tracker.Requests() {
		fmt.Println(r.ID, r.Status, string(r.Result), len(r.Steps), "steps")
	}
	// Output:
	// 35 <nil>
	// job-1 completed 35 3 steps
}

// Advice follows from what is known of the work, here that of the queue that this one was made for.
func ExampleAdvise() {
	a := queue.Advise(queue.Sizing{Rate: 1000, Run: 3_500_000_000, Processors: 4, Memory: queue.Memory{Limit: 4 << 30, Used: 1 << 30}})
	fmt.Println(a.Concurrency)
	for _, reason := range a.Reasons {
		fmt.Println(reason)
	}
	// Output:
	// 4375
	// queue: Little's law: 1000 jobs a second × 3.5s each keep 3500 handlers busy; at 80 % use that takes 4375
	// queue: half of the 3072 MiB of free memory has room for 24576 handlers of 64 KiB
	// queue: at 1000 jobs a second, what waits behind 4 × 15000 others waits for 1m0s
}
