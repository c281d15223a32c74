package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"github.com/upbeat-go/upbeat/queue"
)

func Example() {
	shout := func(_ context.Context, t *queue.Task[string]) (string, error) {
		return strings.ToUpper(t.Payload) + "!", nil
	}
	q, err := queue.New(shout, queue.Config{Concurrency: 100, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background()) // in a service: signal.NotifyContext
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Run(ctx); err != nil {
			fmt.Println(err)
		}
	})

	ticket, err := q.Submit(ctx, queue.Job[string]{ID: "greeting-1", Payload: "hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ticket.Wait(ctx))

	stop()
	wg.Wait() // whatever was accepted is finished
	_, err = q.Submit(context.Background(), queue.Job[string]{Payload: "too late"})
	fmt.Println(err)
	// Output:
	// HELLO! <nil>
	// queue: closed
}

// A full queue is an HTTP server's 503: the client learns when to come back.
func ExampleFullError() {
	q, err := queue.New(func(context.Context, *queue.Task[string]) (struct{}, error) { return struct{}{}, nil },
		queue.Config{Shards: 1, ShardCapacity: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	process := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "unreadable body", http.StatusBadRequest)
			return
		}
		if err := q.Go(queue.Job[string]{Payload: string(body)}); err != nil {
			if full, ok := errors.AsType[*queue.FullError](err); ok {
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(full.RetryAfter.Seconds()))))
			}
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})

	for range 2 {
		w := httptest.NewRecorder()
		process.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/process", strings.NewReader("work")))
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 202 ""
	// 503 "1"
}
