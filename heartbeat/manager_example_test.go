package heartbeat_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/heartbeat/heartbeattest"
)

func ExampleManager() {
	rec := heartbeattest.NewRecorder() // in a service: a client of its Redis
	defer rec.Close()
	m, err := heartbeat.NewManager(rec.Client(), "tracker_fetcher", heartbeat.ManagerConfig{})
	if err != nil {
		log.Panic(err)
	}
	m.QueueSize(func() int { return 1380 })
	m.APIStatus(func(context.Context) (string, error) { return "authenticated", nil })
	fetched := m.LastSuccess(10 * time.Minute)
	loop := m.Progress("fetch", 2*time.Minute)

	loop.Mark() // after each round of the loop
	fetched()   // after each success
	if err := m.Beat(context.Background()); err != nil {
		log.Panic(err)
	}

	for name, value := range rec.Beats()[0].Fields() {
		if name != "last_successful_operation" {
			fmt.Println(name, string(value))
		}
	}
	w := httptest.NewRecorder()
	m.LivezHandler().ServeHTTP(w, httptest.NewRequest("GET", "/livez?verbose", nil))
	fmt.Print(w.Code, "\n", w.Body)
	// Output:
	// api_status "authenticated"
	// queue_size 1380
	// 200
	// [+]ping ok
	// [+]fetch ok
	// livez check passed
}
