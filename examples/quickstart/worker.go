package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/pool"
	"github.com/upbeat-go/upbeat/queue"
)

// workerConfig is what a worker is told by its parent.
type workerConfig struct {
	Service  string
	Instance string
	RedisURL string
	Stream   string
	Interval time.Duration
}

// workerMain is a service: it works off a queue, and beats.
func workerMain(stdin io.Reader, stderr io.Writer) int {
	// ^C reaches every process of the terminal; when to stop is the parent's decision.
	signal.Ignore(syscall.SIGINT)
	terminated, deaf := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer deaf()
	ctx, stop := context.WithCancel(terminated)
	defer stop()

	config := json.NewDecoder(stdin)
	var cfg workerConfig
	if err := config.Decode(&cfg); err != nil {
		fmt.Fprintln(stderr, "worker: the quickstart starts its workers itself:", err)
		return 2
	}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, stdin)
		stop() // and not deaf: a SIGTERM that comes with the end of the input would kill the worker before its goodbye
	}()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := work(ctx, cfg, log); err != nil {
		log.Error("worker failed", "service", cfg.Service, "error", err)
		return 1
	}
	return 0
}

// work runs the service until ctx ends and its queue is drained.
func work(ctx context.Context, cfg workerConfig, log *slog.Logger) error {
	clients, err := pool.Open(ctx, pool.Config{URL: cfg.RedisURL, Profile: pool.Worker(), Logger: log})
	if err != nil {
		return err
	}
	defer clients.Close()

	jobs, err := queue.New(digest, queue.Config{Concurrency: 2, ShardCapacity: 1000, Logger: log})
	if err != nil {
		return err
	}
	pub, err := heartbeat.NewPublisher(clients.Standard(), cfg.Service, heartbeat.Config{
		Instance: cfg.Instance, Interval: cfg.Interval, Stream: cfg.Stream, Logger: log,
	})
	if err != nil {
		return err
	}
	err = errors.Join(
		pub.Collect("queue_size", func(context.Context) (any, error) { return jobs.Len(), nil }),
		pub.Collect("processed", func(context.Context) (any, error) { return jobs.Stats().Done, nil }),
	)
	if err != nil {
		return err
	}

	var wg sync.WaitGroup
	errs := make([]error, 2)
	beating, goodbye := context.WithCancel(context.WithoutCancel(ctx))
	defer goodbye()
	wg.Go(func() { errs[0] = pub.Run(beating) })
	wg.Go(func() { produce(ctx, jobs) })
	// The service beats for as long as it works: it says goodbye when its queue is drained.
	wg.Go(func() {
		defer goodbye()
		errs[1] = jobs.Run(ctx)
	})
	wg.Wait()
	return errors.Join(errs...)
}

// document is the payload of a job.
type document struct {
	size int
	wait time.Duration
}

// digest is the work: some computing and some waiting, as for a disk or a peer.
func digest(ctx context.Context, t *queue.Task[document]) ([sha256.Size]byte, error) {
	content := make([]byte, t.Payload.size)
	for i := range content {
		content[i] = byte(i)
	}
	sum := sha256.Sum256(content)
	select {
	case <-time.After(t.Payload.wait):
		return sum, nil
	case <-ctx.Done():
		return sum, context.Cause(ctx)
	}
}

// produce submits jobs in bursts, about as many as can be done, until ctx ends.
func produce(ctx context.Context, jobs *queue.Queue[document, [sha256.Size]byte]) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range rand.IntN(50) {
			// A full queue says no; this producer drops what it is refused, and a service would answer 503.
			_ = jobs.Go(queue.Job[document]{Payload: document{size: 64 << 10, wait: rand.N(60 * time.Millisecond)}})
		}
	}
}
