package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func ExampleNew() {
	type order struct {
		ID    int
		Buyer string
	}
	src := consumertest.NewSource() // in production, say, redisstream.New
	src.Publish(`{"ID":1,"Buyer":"Ann"}`, `{"ID":2,"Buyer":"Bob"}`)

	c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[order]) error {
		fmt.Printf("order %d of %s\n", m.Value.ID, m.Value.Buyer)
		return nil
	}, consumer.Config{Concurrency: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) // in production, signal.NotifyContext
	var wg sync.WaitGroup
	wg.Go(func() { err = c.Run(ctx) })
	_ = src.Wait(ctx)
	cancel()
	wg.Wait()
	fmt.Println("drained:", err == nil, "messages:", c.Stats().MessageCount)
	// Output:
	// order 1 of Ann
	// order 2 of Bob
	// drained: true messages: 2
}

func ExampleNewBatch() {
	src := consumertest.NewSource()
	src.Publish(`"oak"`, `"ash"`, `""`, `"elm"`)

	c, err := consumer.NewBatch(src, func(_ context.Context, batch []*consumer.Message[string]) error {
		var rows []string
		for _, m := range batch {
			if m.Value == "" {
				m.Fail(consumer.Permanent(errors.New("a tree needs a name")))
				continue
			}
			rows = append(rows, m.Value)
		}
		fmt.Println("insert", strings.Join(rows, ", ")) // in one statement
		return nil
	}, consumer.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { err = c.Run(ctx) })
	_ = src.Wait(ctx)
	cancel()
	wg.Wait()
	fmt.Println("dead:", src.Dead(), "error:", err)
	// Output:
	// insert oak, ash, elm
	// dead: [3] error: <nil>
}
