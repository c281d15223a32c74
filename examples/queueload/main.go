// Queueload is a load test for examples/queueservice: so many clients send requests at once, come back when they are told to, and wait for the outcome of each.
//
//	go run ./examples/queueservice -scale 0.1 &
//	go run ./examples/queueload -clients 1000 -requests 10000
//
// It exits with 0 if all that was accepted was finished, else with 1.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt)
	defer restore()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "queueload:", err)
		os.Exit(1)
	}
}

// load is a load test, and what it has seen.
type load struct {
	url    string
	client *http.Client
	prefix string

	accepted, refused, finished, failed atomic.Int64

	mu       sync.Mutex
	accepts  []time.Duration // from sending a request to its acceptance
	outcomes []time.Duration // from its acceptance to the sight of its outcome
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("queueload", flag.ContinueOnError)
	url := fs.String("url", "http://localhost:8001", "`where` examples/queueservice serves")
	clients := fs.Int("clients", 1000, "`number` of clients at once")
	requests := fs.Int("requests", 10_000, "`number` of requests of all clients together")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *clients < 1 || *requests < 1 {
		return errors.New("-clients and -requests have to be at least 1")
	}
	l := &load{
		url: strings.TrimSuffix(*url, "/"), prefix: strconv.FormatInt(time.Now().UnixNano(), 36),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: *clients}},
	}
	begin := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, *clients)
	for c := range *clients {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(*requests) && errs[c] == nil; i = next.Add(1) {
				errs[c] = l.request(ctx, fmt.Sprintf("load-%s-%d", l.prefix, i))
			}
		})
	}
	wg.Wait()
	l.report(out, time.Since(begin))
	if err := errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...); err != nil {
		return err
	}
	if l.failed.Load() > 0 || l.finished.Load() != int64(*requests) {
		return fmt.Errorf("%d of %d requests were not completed", int64(*requests)-l.finished.Load()+l.failed.Load(), *requests)
	}
	return nil
}

// request sends one request until it is accepted, and looks for its outcome until that is there.
func (l *load) request(ctx context.Context, id string) error {
	body, _ := json.Marshal(map[string]string{"id": id, "text": "the quick brown fox"}) // can't fail
	begin := time.Now()
	for {
		status, header, _, err := l.call(ctx, http.MethodPost, "/process", body)
		if err != nil {
			return err
		}
		if status == http.StatusAccepted {
			break
		}
		l.refused.Add(1)
		seconds, err := strconv.Atoi(header.Get("Retry-After"))
		if status != http.StatusServiceUnavailable || err != nil {
			return fmt.Errorf("POST /process says %d without a Retry-After", status)
		}
		if err := sleep(ctx, time.Duration(seconds)*time.Second); err != nil {
			return err
		}
	}
	l.accepted.Add(1)
	accepted := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		_, _, text, err := l.call(ctx, http.MethodGet, "/status/"+id, nil)
		if err != nil {
			return err
		}
		var r struct{ Status string }
		_ = json.Unmarshal(text, &r) // then it has no status
		switch r.Status {
		case "completed":
			l.finished.Add(1)
			l.mu.Lock()
			l.accepts, l.outcomes = append(l.accepts, accepted.Sub(begin)), append(l.outcomes, time.Since(accepted))
			l.mu.Unlock()
			return nil
		case "failed", "cancelled":
			l.finished.Add(1)
			l.failed.Add(1)
			return nil
		}
	}
}

func (l *load) call(ctx context.Context, method, path string, body []byte) (status int, header http.Header, text []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, l.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	w, err := l.client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer w.Body.Close()
	text, err = io.ReadAll(io.LimitReader(w.Body, 1<<20))
	return w.StatusCode, w.Header, text, err
}

func (l *load) report(out io.Writer, took time.Duration) {
	fmt.Fprintf(out, "accepted %d, refused %d times, completed %d, failed %d, in %s: %.0f a second\n", l.accepted.Load(), l.refused.Load(),
		l.finished.Load()-l.failed.Load(), l.failed.Load(), took.Round(time.Millisecond), float64(l.finished.Load())/took.Seconds())
	for name, all := range map[string][]time.Duration{"until accepted": l.accepts, "until completed": l.outcomes} {
		slices.Sort(all)
		if n := len(all); n > 0 {
			fmt.Fprintf(out, "%s: p50 %s, p95 %s, p99 %s, at most %s\n", name, all[n/2], all[n*95/100], all[n*99/100], all[n-1])
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
