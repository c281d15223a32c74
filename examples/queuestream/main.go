// Queuestream is examples/queueservice beyond one machine: the same handler, fed from a Redis stream that any number of processes read.
//
//	go run ./examples/queuestream -redis redis://… -work &      # as many as there is work for, on any machine
//	go run ./examples/queuestream -redis redis://… -work &
//	go run ./examples/queuestream -redis redis://… -send 1000   # "order-1" to "order-1000"
//
// The stream takes the place of the tracker: it keeps what is sent until it is handled, gives what a process leaves behind when it
// dies to another, and keeps the order of a key. What a queue does within a process (concurrency, retries, recorded
// steps) a consumer and its group do here; how long the line is, and how old its first, Redis knows.
// ^C or SIGTERM ends it. It exits with 0 if all went well, else with 1.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redisstream"
)

const stream = "queue:requests"

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "queuestream:", err)
		os.Exit(1)
	}
}

// request is what is sent through the stream.
type request struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("queuestream", flag.ContinueOnError)
	url := fs.String("redis", "", "`URL` of a Redis (default: $REDIS_URL)")
	work := fs.Bool("work", false, "work through what was sent, until ^C")
	send := fs.Int("send", 0, "send so `many` requests")
	concurrency := fs.Int("concurrency", 4000, "`number` of requests that are worked on at once")
	if err := fs.Parse(args); err != nil {
		return err
	}
	opts, err := redis.ParseURL(cmp.Or(*url, os.Getenv("REDIS_URL")))
	if err != nil {
		return errors.New("-redis, or REDIS_URL, isn't the URL of a Redis")
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if *send > 0 {
		if err := sendAll(ctx, rdb, *send); err != nil {
			return err
		}
		fmt.Fprintf(out, "sent %d\n", *send)
	}
	if *work {
		return workOn(ctx, rdb, *concurrency, out)
	}
	return nil
}

func sendAll(ctx context.Context, rdb *redis.Client, n int) error {
	producer, err := redisstream.NewProducer(rdb, redisstream.ProducerConfig{Stream: stream})
	if err != nil {
		return err
	}
	messages := make([]redisstream.Outgoing, n)
	for i := range messages {
		r := request{ID: fmt.Sprintf("order-%d", i+1), Text: "hello"}
		payload, err := json.Marshal(r)
		if err != nil {
			return err
		}
		messages[i] = redisstream.Outgoing{ID: r.ID, Payload: payload}
	}
	_, err = producer.Send(ctx, messages...)
	return err
}

// workOn handles requests until ctx ends, then finishes those it has begun.
func workOn(ctx context.Context, rdb *redis.Client, concurrency int, out io.Writer) error {
	source, err := redisstream.New(rdb, redisstream.Config{Streams: []string{stream}, Group: "workers"})
	if err != nil {
		return err
	}
	c, err := consumer.New(source, handle, consumer.Config{Concurrency: concurrency})
	if err != nil {
		return err
	}
	err = c.Run(ctx)
	stats := c.Stats()
	fmt.Fprintf(out, "handled %d, failed %d\n", stats.MessageCount, stats.ErrorCount)
	return err
}

// handle is where the work of examples/queueservice would be. A request may come more than once: it should be idempotent by r.ID.
func handle(ctx context.Context, m *consumer.Message[request]) error {
	select {
	case <-time.After(time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
