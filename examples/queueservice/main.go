// Queueservice is an HTTP service that takes requests at once, works through them later, and finishes what it accepted even if it is killed.
//
//	go run ./examples/queueservice                              # keeps requests in queue.db
//	go run ./examples/queueservice -db postgres://…             # or DATABASE_URL
//	curl -d '{"id":"order-17","text":"hello"}' localhost:8001/process
//	curl localhost:8001/status/order-17
//	go run ./examples/queueload                          # a thousand clients at once
//
// It serves POST /process, GET /queue-status, /status/{id}, /database/stats, /thread-efficiency, /advice, /metrics for
// Prometheus (alerts.yaml, and dashboard.json for Grafana), /livez and /readyz. ^C or SIGTERM ends it: it finishes what it can, and leaves
// the rest to the next one. It exits with 0 if all was finished, with 1 if not, and with 2 when it could not start.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/upbeat-go/upbeat/queue"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second ^C ends the program at once
	os.Exit(run(ctx))
}

// options are what the command line says.
type options struct {
	listen, database string
	scale            float64
	queue            queue.Config
}

func run(ctx context.Context) int {
	opts, err := parseOptions(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	code := 2
	if err == nil {
		code, err = serve(ctx, opts, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "queue:", err)
	}
	return code
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	o := options{queue: queue.Config{Retry: queue.Retry{Attempts: 3}}}
	fs := flag.NewFlagSet("queueservice", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", "localhost:8001", "`address` to serve on")
	fs.StringVar(&o.database, "db", "", "`where` requests are kept: a file, or postgres://… (default: $DATABASE_URL, else queue.db)")
	fs.Float64Var(&o.scale, "scale", 1, "`factor` for the time that the work takes: the steps take 1 s and 2.5 s, side by side, and a third 1 s")
	fs.IntVar(&o.queue.Shards, "shards", 4, "`number` of waiting lines")
	fs.IntVar(&o.queue.ShardCapacity, "capacity", 100_000, "`number` of requests that may wait in each")
	fs.IntVar(&o.queue.Concurrency, "concurrency", 4000, "`number` of requests that are worked on at once")
	fs.DurationVar(&o.queue.Lease, "lease", 30*time.Second, "how long to leave alone the work of a process that is not heard of")
	fs.DurationVar(&o.queue.DrainTimeout, "drain", 30*time.Second, "how long to finish what was accepted when it is to end")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.Usage()
			return o, err
		}
		return o, fmt.Errorf("%w (try -h)", err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q (try -h)", fs.Arg(0))
	}
	if !(o.scale >= 0 && o.scale <= 1000) {
		return o, fmt.Errorf("-scale is %g: want 0 to 1000", o.scale)
	}
	o.database = cmp.Or(o.database, getenv("DATABASE_URL"), "queue.db") // no default of the flag: -h would show a password
	return o, nil
}

// serve runs the service until ctx ends, and returns the exit status.
func serve(ctx context.Context, opts options, log io.Writer) (code int, err error) {
	db, err := openDatabase(ctx, opts.database)
	if err != nil {
		return 2, err
	}
	defer db.Close()
	opts.queue.Tracker = db
	opts.queue.Logger = slog.New(slog.NewTextHandler(log, nil))
	q, err := queue.New(pipeline(opts.scale), opts.queue)
	if err != nil {
		return 2, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", opts.listen)
	if err != nil {
		return 2, err
	}
	fmt.Fprintf(log, "queue: listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: routes(q, db), ReadHeaderTimeout: 5 * time.Second}

	var wg sync.WaitGroup
	wg.Go(func() { maintain(ctx, db, opts.queue.Logger) })
	wg.Go(func() { _ = server.Serve(listener) }) // until it is closed
	runErr := q.Run(ctx)                         // clients can ask for their requests while it drains
	_ = server.Close()
	wg.Wait()
	if runErr != nil {
		return 1, runErr
	}
	return 0, nil
}

// maintain makes room in the database, until ctx ends.
func maintain(ctx context.Context, db database, log *slog.Logger) {
	for {
		if err := db.Maintain(ctx); err != nil && ctx.Err() == nil {
			log.Warn("queue: database not maintained", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}
