package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/pool"
)

// A worker takes jobs off a list until it is told to stop. BLMove keeps a job in another list while it is worked on, so that it
// outlives the worker.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := pool.FromEnv(pool.Worker())
	if err != nil {
		log.Print(err)
		return
	}
	clients, err := pool.Open(ctx, cfg)
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()
	for {
		job, err := clients.Blocking().BLMove(ctx, "jobs", "jobs:running", "LEFT", "RIGHT", time.Minute)
		switch {
		case err == nil:
			// What arrived is worked on even if ctx has ended meanwhile.
			log.Print("working on ", job)
			clients.Standard().LRem(context.WithoutCancel(ctx), "jobs:running", 1, job)
		case ctx.Err() != nil:
			return
		case !errors.Is(err, redis.Nil):
			log.Print(err)
			select { // an outage: not too often
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// A service watches its Redis for as long as it runs, and shows what it sees.
func ExampleClients_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379"})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()
	mux := http.NewServeMux()
	mux.Handle("/health", clients.HealthHandler())
	mux.Handle("/api/v1/redis/pool-stats", clients.StatsHandler())
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	var wg sync.WaitGroup
	wg.Go(func() { _ = clients.Run(ctx) })
	wg.Go(func() { _ = server.ListenAndServe() })
	<-ctx.Done()
	_ = server.Shutdown(context.WithoutCancel(ctx))
	wg.Wait()
}

func ExampleOpen_invalid() {
	_, err := pool.Open(context.Background(), pool.Config{Addr: "redis", Profile: pool.Profile{MaxConnections: 1_000_000}})
	fmt.Println(err)
	// Output:
	// pool: Config.Addr has "redis": want host:port or the path of a Unix socket
	// pool: Config.Profile.MaxConnections is 1000000: want 1 to 10000, or 0 for 50
}

func ExampleConfig_String() {
	cfg := pool.Config{Addr: "redis:6379", Username: "joe", Password: "secret", DB: 2}
	fmt.Println(cfg)
	// Output: redis redis:6379 db 2
}

func ExampleWorker() {
	profile := pool.Worker()
	profile.MaxConnections = 60
	profile.KeepAlive = pool.PatientKeepAlive()
	fmt.Println(profile.MaxConnections, profile.SocketTimeout, profile.BlockingTimeout, profile.KeepAlive.Idle)
	// Output: 60 1m0s 5m0s 10m0s
}

// A SET that names a lock's owner may run twice: after a lost connection it is sent again. The INCR may not: the caller decides.
func ExampleIdempotent() {
	ctx := context.Background()
	clients, err := pool.Open(ctx, pool.Config{Addr: "redis:6379"})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = clients.Close() }()
	if err := clients.Standard().Set(pool.Idempotent(ctx), "report:owner", "worker-7", time.Hour).Err(); err != nil {
		log.Print(err)
	}
	err = clients.Standard().Incr(ctx, "reports").Err()
	if lost, ok := errors.AsType[*pool.LostReplyError](err); ok {
		log.Print("counted or not: ", lost)
	}
	if open, ok := errors.AsType[*pool.OpenError](err); ok {
		log.Print("not counted; worth another try at ", open.RetryAt)
	}
}
