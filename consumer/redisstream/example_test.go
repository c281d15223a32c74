package redisstream_test

import (
	"context"
	"log"
	"os/signal"
	"sync"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

func Example() {
	type order struct{ ID int }
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	src, err := redisstream.New(rdb, redisstream.Config{Streams: []string{"orders"}, Group: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[order]) error {
		log.Printf("%s: order %d, attempt %d", m.ID, m.Value.ID, m.Attempt)
		return nil
	}, consumer.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { err = c.Run(ctx) })
	wg.Wait()
	log.Print("drained: ", err)
}
