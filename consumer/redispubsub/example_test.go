package redispubsub_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/consumer/redispubsub"
)

// Run this on two machines, and read the stream with package redisstream.
func ExampleBridge() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	b, err := redispubsub.NewBridge(rdb, redispubsub.BridgeConfig{
		From:   redispubsub.Config{Patterns: []string{"health:service:*:heartbeat"}},
		Stream: "health:messages",
		MaxLen: 1_000_000,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := b.Run(ctx); err != nil {
		fmt.Println(err)
	}
}
