package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/pool"
)

// What can't have run is sent again; what may have run is left to whoever knows whether twice is too often.
func ExamplePipeline() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379"})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()

	batches := clients.Pipeline()
	batches.Timeout = 2 * time.Second
	_, err = batches.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 5000 {
			p.Incr(ctx, fmt.Sprintf("visits:%d", i))
		}
		return nil
	})
	if failed, ok := errors.AsType[*pool.BatchError](err); ok {
		log.Printf("%d counts may be missing: %v", len(failed.Unknown), err)
		_, err = batches.Pipelined(ctx, func(p redis.Pipeliner) error { return p.BatchProcess(ctx, failed.NotSent...) })
	}
	if err != nil {
		log.Print(err)
	}
}

func ExamplePipeline_TxPipelined() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addrs: []string{"redis-0:6379", "redis-1:6379"}, Cluster: true})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()

	// The braces put both keys in one slot.
	_, err = clients.Pipeline().TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, "{order:7}:state", "paid", true)
		p.LPush(ctx, "{order:7}:log", "paid")
		return nil
	})
	if err != nil {
		log.Print(err)
	}
}

// A worker claims a task, says that it is alive while it works, and finishes with the token that it got. If it was taken for dead meanwhile
// and another has the task, the last step is refused.
func ExampleTasks() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379", Profile: pool.Worker()})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()
	tasks := clients.Tasks()

	claim := pool.Transition{Task: "order-7", From: "queued", To: "running", Token: pool.AnyToken, Owner: "worker-1", Request: "claim-by-worker-1"}
	task, err := tasks.Transition(ctx, claim)
	if err != nil {
		task, err = tasks.Transition(ctx, claim) // safe, whatever became of the first
	}
	if err != nil {
		log.Print(err)
		return
	}
	if err := tasks.Beat(ctx, "worker-1", 30*time.Second); err != nil {
		log.Print(err)
	}
	// … the work, and a Beat every 10 seconds …
	_, err = tasks.Transition(ctx, pool.Transition{
		Task: "order-7", From: "running", To: "done", Token: task.Token, Owner: "worker-1", Keep: 24 * time.Hour,
	})
	if stale, ok := errors.AsType[*pool.StaleError](err); ok {
		log.Printf("the work of %s counts, not mine: %v", stale.Now.Owner, err)
		return
	}
	if _, err := tasks.AddOnce(ctx, "orders:done", "order-7", 1, 24*time.Hour); err != nil {
		log.Print(err)
	}
}

// Whoever looks after the tasks gives those of silent workers to others. A worker that was only slow is refused when it comes back.
func ExampleTasks_Alive() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379", Profile: pool.Worker()})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()
	tasks := clients.Tasks()

	task, err := tasks.State(ctx, "order-7")
	if err != nil || task.State != "running" {
		return
	}
	if alive, err := tasks.Alive(ctx, task.Owner); err != nil || alive {
		return
	}
	_, err = tasks.Transition(ctx, pool.Transition{Task: "order-7", From: "running", To: "queued", Token: task.Token})
	if err != nil {
		log.Print(err)
	}
}

func ExampleStaleError() {
	err := &pool.StaleError{
		Transition: pool.Transition{Task: "order-7", From: "running", To: "done", Token: 3},
		Now:        pool.Task{State: "running", Token: 5, Owner: "worker-2"},
	}
	fmt.Println(err)
	// Output: pool: task "order-7" is "running" with token 5 of "worker-2": want "running" with token 3 for the transition to "done"
}

// A cache that drops what was changed elsewhere, and everything when it may have missed a change.
func ExampleClients_Subscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379"})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()

	sub, err := clients.Subscribe(ctx, "cache:changed")
	if err != nil {
		log.Print(err)
		return
	}
	cache := map[string]string{}
	for msg, gap := range sub.All() {
		if gap != nil {
			log.Printf("nothing heard for %v: %v", gap.Until.Sub(gap.Since), gap.Why)
			clear(cache)
			continue
		}
		delete(cache, msg.Payload)
	}
}

// Code that has a go-redis PubSub keeps its loop.
func ExampleSubscription_Channel() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379"})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()

	sub, err := clients.PSubscribe(ctx, "orders:*")
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = sub.Close() }()
	for msg := range sub.Channel() {
		log.Print(msg.Channel, ": ", msg.Payload)
	}
}
