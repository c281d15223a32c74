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

// Orders of one customer are handled in their order, however many processes run this.
func ExampleProducer() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	p, err := redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: "orders", Partitions: 16})
	if err != nil {
		log.Fatal(err)
	}
	ids, err := p.Send(context.Background(),
		redisstream.Outgoing{Key: "customer-7", ID: "order-1", Payload: []byte(`{"id":1}`)},
		redisstream.Outgoing{Key: "customer-7", ID: "order-2", Payload: []byte(`{"id":2}`)},
	)
	if err != nil { // those with an empty id may be sent again: readers know them by redisstream.SenderID
		log.Print(ids, err)
	}
	src, err := redisstream.New(rdb, redisstream.Config{Streams: redisstream.Partitions("orders", 16), Exclusive: true, Group: "billing"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = consumer.New(src, func(_ context.Context, m *consumer.Message[struct{ ID int }]) error {
		log.Printf("%s: order %d", redisstream.SenderID(&m.Raw), m.Value.ID)
		return nil
	}, consumer.Config{Key: redisstream.Key})
	if err != nil {
		log.Fatal(err)
	}
}

// What was given up yesterday gets another chance.
func ExampleDeadLetters() {
	ctx := context.Background()
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	letters, err := redisstream.NewDeadLetters(rdb, "orders")
	if err != nil {
		log.Fatal(err)
	}
	for letter, err := range letters.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		log.Printf("%s: %s after %d attempts: %s", letter.At, letter.MessageID, letter.Attempts, letter.Reason)
	}
	n, err := letters.ReplayAll(ctx)
	log.Print(n, err)
}
