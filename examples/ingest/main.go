// Ingest stores every health message of a Redis stream, each once: a program to copy. Any number of them share a stream.
//
//	REDIS_URL=redis://… DATABASE_URL=postgres://… go run ./examples/ingest
//	go run ./examples/ingest -database health.db                    # a SQLite file; Redis on localhost:6379
//	go run ./examples/ingest -listen localhost:8080                 # /stats and /healthz
//	go run ./examples/ingest dead list                              # what could not be stored, and why; "dead -since 24h list"
//	go run ./examples/ingest dead show 'health:messages/1737-0'
//	go run ./examples/ingest dead replay 'health:messages/1737-0'   # back into its stream, each once
//
// Its way from the stream into the database is handle.go; what happens to messages that nobody can handle is letters.go, and
// what people do with those is dead.go. Everything else is wiring.
//
// Redis is what REDIS_URL says, or the other variables that pool.FromEnv reads: Sentinel, Cluster and TLS among them. Start it as often
// as the load wants, each process for itself: a message belongs to one of them, and to another one when it dies. An outage of either server
// loses nothing and makes no dead letters: the program waits until it is back.
//
// With GOMEMLIMIT=30MiB it takes less than 50 MB of memory, however much there is to do: without, Go's collector lets it have up to twice of that.
//
// ^C or SIGTERM ends it: it finishes what it has begun and leaves the rest in the stream. It exits with 0 when that went well, with 1 when
// something could not be finished (it comes again), and with 2 when it could not start.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/pool"
)

func main() {
	redis.SetLogger(silent{})
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second ^C ends the program at once
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ingest:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	os.Exit(code)
}

// silent keeps go-redis from writing to standard error: what matters comes back as an error, and is logged.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// options are what the command line and the environment say.
type options struct {
	redis    pool.Config
	database string // a URL of Postgres or the path of a SQLite file
	stream   string
	group    string
	consumer string // "" for a name of its own
	listen   string // "" for none

	lease, timeout, backoff time.Duration

	since time.Duration // of dead letters
	args  []string      // of a sub-command
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string) (code int, err error) {
	opts, err := parseOptions(args, os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0, nil
	case err != nil:
		return 2, err
	case len(opts.args) > 0:
		return deadMain(ctx, opts, os.Stdout)
	}
	return serve(ctx, opts)
}

func parseOptions(args []string, getenv func(string) string) (o options, err error) {
	fs := flag.NewFlagSet("ingest", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	url := fs.String("redis", "", "`URL` of a Redis, redis://… or rediss://… (default: what the environment says, REDIS_URL and others)")
	fs.StringVar(&o.database, "database", "", "`URL` of a Postgres, postgres://…, or path of a SQLite file (default: $DATABASE_URL)")
	o.since = 30 * 24 * time.Hour
	if len(args) > 0 && args[0] == "dead" {
		o.args, args = []string{"dead"}, args[1:]
		fs.DurationVar(&o.since, "since", o.since, "how old a message may be, such as `24h`")
	} else {
		fs.StringVar(&o.stream, "stream", "health:messages", "`name` of the stream")
		fs.StringVar(&o.group, "group", "ingest", "`name` of the consumer group: all processes with the same one share the work")
		fs.StringVar(&o.consumer, "consumer", "", "`name` of this process in the group, which no other has; one that stays over a restart gets at once what it held (default: a new one each time)")
		fs.StringVar(&o.listen, "listen", "", "`address` such as localhost:8080 to serve /stats and /healthz on (default: none)")
		fs.DurationVar(&o.lease, "lease", time.Minute, "after how long of silence the messages of a process go to another one; the same for all of a group")
		fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long the database may take for a batch")
		fs.DurationVar(&o.backoff, "backoff", time.Second, "the pause before the first further try after a failure; each is twice as long as the one before")
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.Usage()
			return o, err
		}
		return o, fmt.Errorf("%w (try -h)", err)
	}
	o.args = append(o.args, fs.Args()...)
	o.database = cmp.Or(o.database, getenv("DATABASE_URL")) // no default of the flag: -h would show a password
	switch {
	case len(o.args) > 0 && o.args[0] != "dead":
		return o, fmt.Errorf("unexpected argument %q (try -h)", o.args[0])
	case o.database == "":
		return o, errors.New("no database: want DATABASE_URL, or -database with postgres://… or the path of a file")
	case len(o.args) == 0 && o.timeout <= 0:
		return o, fmt.Errorf("-timeout is %s: want a duration such as 30s", o.timeout)
	}
	if o.redis, err = pool.FromEnv(pool.Worker()); *url != "" {
		o.redis, err = pool.Config{URL: *url, Profile: o.redis.Profile}, nil
	}
	return o, err
}
