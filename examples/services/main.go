// Services runs one of three services that beat, each with the heartbeat that fits it; heartbeats.go is the part to copy.
//
//	go run ./examples/services -service geocoding                   # Redis is embedded
//	go run ./examples/services -service geofence -redis redis://…   # or REDIS_URL
//	go run ./examples/services -listen localhost:8080               # /livez and /readyz
//	go run ./examples/services -hang 5s                             # the work hangs, and the beats say so
//
// HEARTBEAT_INTERVAL is the time between beats, 60 seconds by default. ^C or SIGTERM ends it: it drains, and says
// goodbye. It exits with 0 when the goodbye has arrived, with 1 when not, and with 2 when it could not start.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
	"github.com/upbeat-go/upbeat/pool"
)

func main() {
	redis.SetLogger(silent{})
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second ^C ends the program at once
	os.Exit(run(ctx))
}

// silent keeps go-redis from writing to standard error: what matters comes back as an error, and is logged.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// options are what the command line says.
type options struct {
	service, redis, listen string
	hang                   time.Duration // 0: never
}

func run(ctx context.Context) int {
	code := 2
	opts, err := parseOptions(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		code, err = serve(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "services:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return code
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	names := strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
	var o options
	fs := flag.NewFlagSet("services", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.service, "service", "tracker_fetcher", "which `one` to run: "+names)
	fs.StringVar(&o.redis, "redis", "", "`URL` of a Redis, redis://… or rediss://… (default: $REDIS_URL, else embedded)")
	fs.StringVar(&o.listen, "listen", "", "`address` such as localhost:8080 to serve /livez and /readyz on (default: none)")
	fs.DurationVar(&o.hang, "hang", 0, "let the work hang after this long, such as `5s` (default: never)")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.Usage()
			return o, err
		}
		return o, fmt.Errorf("%w (try -h)", err)
	}
	o.redis = cmp.Or(o.redis, getenv("REDIS_URL")) // no default of the flag: -h would show a password
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q (try -h)", fs.Arg(0))
	case kinds[o.service] == nil:
		return o, fmt.Errorf("-service is %q: want one of %s", o.service, names)
	case o.hang < 0:
		return o, fmt.Errorf("-hang is %s: want a duration such as 5s", o.hang)
	}
	return o, nil
}

// serve runs the service until ctx ends, and returns the exit status.
func serve(ctx context.Context, opts options) (code int, err error) {
	cfg, err := heartbeat.ManagerConfigFromEnv()
	if err != nil {
		return 2, err
	}
	url := opts.redis
	if url == "" {
		embedded, err := startEmbedded(ctx)
		if err != nil {
			return 2, err
		}
		defer embedded.Close()
		url = "redis://" + embedded.Addr()
		fmt.Fprintf(os.Stderr, "services: Redis is embedded, and ends with this program: %s\n", url)
	}
	clients, err := pool.Open(ctx, pool.Config{URL: url, Profile: pool.Worker()})
	if err != nil {
		return 2, err
	}
	defer clients.Close()
	s, err := newService(opts.service, clients.Standard(), cfg)
	if err != nil {
		return 2, err
	}
	if opts.listen != "" {
		closeListener, err := s.listen(ctx, opts.listen)
		if err != nil {
			return 2, err
		}
		defer closeListener()
	}
	if err := s.run(ctx, opts.hang); err != nil {
		return 1, err
	}
	return 0, nil
}

// startEmbedded starts a Redis within this process, whose time runs until ctx ends: miniredis has none by itself.
func startEmbedded(ctx context.Context) (*miniredis.Miniredis, error) {
	embedded, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	go func() {
		for tick := time.Tick(time.Second); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				embedded.FastForward(time.Second)
			}
		}
	}()
	return embedded, nil
}

// listen serves the health of the service, which who watches over the process asks for.
func (s *service) listen(ctx context.Context, address string) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "services: http://%s/livez and /readyz\n", listener.Addr())
	mux := http.NewServeMux()
	mux.Handle("/livez", s.beats.LivezHandler())
	mux.Handle("/readyz", s.beats.ReadyzHandler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() { _ = server.Close() }, nil
}

// run works and beats. The beats go on until the work has ended: only then is it time for the goodbye.
func (s *service) run(ctx context.Context, hang time.Duration) (err error) {
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	beating, goodbye := context.WithCancel(context.WithoutCancel(ctx))
	defer goodbye()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stopWork() // a service that can't say how it is doesn't go on in the dark
		err = s.beats.Run(beating)
	})
	wg.Go(func() {
		defer goodbye()
		s.work(working, hang)
	})
	wg.Wait()
	return err
}
