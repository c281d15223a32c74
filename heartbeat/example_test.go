package heartbeat_test

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func ExamplePublisher() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()

	pub, err := heartbeat.NewPublisher(rdb, "geocoding", heartbeat.Config{})
	if err != nil {
		log.Panic(err)
	}
	var pending atomic.Int64
	err = pub.Collect("pending_requests", func(context.Context) (any, error) { return pending.Load(), nil })
	if err != nil {
		log.Panic(err)
	}

	// The publisher outlives the work, and main outlives the publisher: its last beat says goodbye.
	beating, quiet := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := pub.Run(beating); err != nil {
			log.Print(err)
		}
	})

	<-ctx.Done() // the work goes here
	pub.Drain()
	// … and is brought to its end here
	quiet()
	wg.Wait()
}

func ExampleMonitor() {
	mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{})
	if err != nil {
		log.Panic(err)
	}
	// Beats come from a subscription, a stream or a test; how long ago they were sent is for their source to say.
	err = mon.Observe([]byte(`{"service_name":"geocoding","instance_id":"a1","heartbeat_count":7}`), 0)
	if err != nil {
		log.Panic(err)
	}
	err = mon.Observe([]byte(`{"service_name":"geofence","instance_id":"b2","heartbeat_count":4}`), 2*time.Minute)
	if err != nil {
		log.Panic(err)
	}
	for inst := range mon.Instances() {
		fmt.Printf("%s (%s) is %v: %s\n", inst.Service, inst.ID, inst.State, inst.Why)
	}
	// Output:
	// geocoding (a1) is alive: last beat 0s ago: stale from 1m30s
	// geofence (b2) is stale: last beat 2m0s ago: stale from 1m30s, dead from 3m0s
}

func ExampleMonitor_Events() {
	mon, err := heartbeat.NewMonitor(nil, heartbeat.MonitorConfig{}) // in a service: with a client of its Redis
	if err != nil {
		log.Panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = mon.Run(ctx) }) // it notices silence, and listens where there is a Redis

	events := mon.Events(ctx) // what happens from here on
	for _, beat := range []string{
		`{"service_name":"geocoding","instance_id":"a1","heartbeat_count":7,"upbeat":{"run":"x"}}`,
		`{"service_name":"geocoding","instance_id":"a1","heartbeat_count":1,"uptime_seconds":2,"upbeat":{"run":"y"}}`,
		`{"service_name":"geocoding","instance_id":"a1","heartbeat_count":2,"upbeat":{"run":"y","state":"stuck"}}`,
		`{"service_name":"geocoding","instance_id":"a1","heartbeat_count":3,"upbeat":{"run":"y","state":"stopped"}}`,
	} {
		if err := mon.Observe([]byte(beat), 0); err != nil {
			log.Panic(err)
		}
	}
	for e := range events {
		fmt.Printf("%s %s (%s): %s\n", e.Service, e.Kind, e.State, e.Why)
		if e.Kind == heartbeat.EventStopped {
			break
		}
	}
	// Output:
	// geocoding started (alive): seen for the first time: last beat 0s ago: stale from 1m30s
	// geocoding restarted (alive): a new life under the same name, up for 2s
	// geocoding stuck (stuck): last beat 0s ago, and it says that its work is stuck
	// geocoding stopped (stopped): said goodbye 0s ago
}

func ExampleParseBeat() {
	beat, err := heartbeat.ParseBeat([]byte(`{
		"service_name": "geocoding", "instance_id": "a1", "timestamp": "2025-01-16T08:30:00.123456+00:00",
		"uptime_seconds": 3600.5, "heartbeat_count": 60, "memory_usage_mb": 156.3, "cpu_usage_percent": 12.5,
		"cache_size": 1380, "pending_requests": 17}`))
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(beat.Service, "up for", beat.Uptime)
	for name, value := range beat.Fields() {
		fmt.Printf("%s = %s\n", name, value)
	}
	// Output:
	// geocoding up for 1h0m0.5s
	// cache_size = 1380
	// pending_requests = 17
}

func ExampleThresholds() {
	every10s := heartbeat.Thresholds{}.For(10*time.Second, 0)
	for _, age := range []time.Duration{12 * time.Second, 20 * time.Second, 40 * time.Second} {
		fmt.Println(age, every10s.Judge(age))
	}
	// Output:
	// 12s alive
	// 20s stale
	// 40s dead
}
