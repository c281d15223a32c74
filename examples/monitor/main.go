// Monitor shows in a terminal which services are alive, by the heartbeats that they send to Redis.
//
//	go run ./examples/monitor -redis redis://…            # or REDIS_URL, or HEALTH_REDIS_HOST, _PORT and _PASSWORD
//	go run ./examples/monitor -expect geocoding,geofence  # says when one of these isn't there
//	go run ./examples/monitor | tee log                   # no terminal: a line for each event
//	go run ./examples/monitor -json                       # an object for each event
//	go run ./examples/monitor -once                       # the table as it is now, for scripts
//
// It goes on while Redis can't be reached, and says so. It exits with 0 when it was ended by ^C, q or SIGTERM, and
// with 2 when it could not start. With -once it exits with 0, with 1 when somebody is dead or an expected service
// isn't there, and with 2 when Redis could not be asked.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/term"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func main() {
	redis.SetLogger(silent{})
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	code, err := run(ctx, restore)
	if err != nil {
		fmt.Fprintln(os.Stderr, "monitor:", clean(strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
	os.Exit(code)
}

// silent keeps go-redis from writing into the table; what matters comes back as an error or as an event.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// run does what the command line says. After restore a further ^C ends the program at once.
func run(ctx context.Context, restore func()) (code int, err error) {
	opts, err := parseOptions(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0, nil
	}
	if err != nil {
		return 2, err
	}
	rdb, where, err := connect(opts)
	if err != nil {
		return 2, err
	}
	defer rdb.Close()
	columns, _, notTerminal := term.GetSize(int(os.Stdout.Fd()))
	if notTerminal == nil && !opts.once && !opts.json && os.Getenv("TERM") != "dumb" {
		return watch(ctx, restore, rdb, where, opts)
	}
	context.AfterFunc(ctx, restore)
	if !opts.once {
		return follow(ctx, rdb, where, opts)
	}
	if notTerminal != nil {
		columns = 240 // whoever reads it may cut it
	}
	switch well, err := once(ctx, rdb, opts, os.Stdout, columns); {
	case err != nil:
		return 2, err
	case !well:
		return 1, nil
	}
	return 0, nil
}

// watch shows the table on the terminal.
func watch(ctx context.Context, restore func(), rdb redis.UniversalClient, where string, opts options) (code int, err error) {
	l := &live{redis: where, expect: opts.expect}
	remark := func(text string) { l.add(note(time.Now(), text)) }
	if l.mon, err = newMonitor(rdb, opts, slog.New(notes{remark})); err != nil {
		return 2, err
	}
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	screen := openScreen(os.Stdin, os.Stdout, os.Getenv("NO_COLOR") == "", quit)
	defer screen.close()
	var wg sync.WaitGroup
	wg.Go(func() { greet(ctx, rdb, where, remark) })
	events := l.mon.Events(ctx) // from before Run, so that none is missed
	wg.Go(func() {
		for e := range events {
			l.hear(e)
		}
	})
	wg.Go(func() { _ = l.mon.Run(ctx) }) // what it can't hear is shown
	last, err := l.show(ctx, screen)
	quit()
	screen.close()
	restore()
	wide, _ := screen.size()
	_ = printLines(os.Stdout, last, wide) // it stays on the terminal
	wg.Wait()
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// follow prints events as they come.
func follow(ctx context.Context, rdb redis.UniversalClient, where string, opts options) (code int, err error) {
	remark := func(text string) { fmt.Fprintln(os.Stderr, "monitor:", clean(text)) }
	mon, err := newMonitor(rdb, opts, slog.New(notes{remark}))
	if err != nil {
		return 2, err
	}
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	var wg sync.WaitGroup
	wg.Go(func() { greet(ctx, rdb, where, remark) })
	events := mon.Events(ctx)
	wg.Go(func() { _ = mon.Run(ctx) })
	for e := range events {
		if opts.json {
			err = printObject(os.Stdout, e)
		} else {
			_, err = fmt.Fprintln(os.Stdout, tell(e, clean(e.Service), clean(e.Instance)).text)
		}
		if err != nil {
			break
		}
	}
	quit()
	wg.Wait()
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func newMonitor(rdb redis.UniversalClient, opts options, log *slog.Logger) (*heartbeat.Monitor, error) {
	return heartbeat.NewMonitor(rdb, heartbeat.MonitorConfig{Channels: opts.channels, Expect: opts.expect, Logger: log})
}

// greet says at once when Redis can't be reached: the monitor itself takes a moment to be sure that it is blind.
func greet(ctx context.Context, rdb redis.UniversalClient, where string, remark func(string)) {
	bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := rdb.Ping(bounded).Err(); err != nil && ctx.Err() == nil && !redis.IsPermissionError(err) {
		remark(fmt.Sprintf("%s can't be asked yet, trying on: %v", where, err))
	}
}

// options are what the command line and the environment say.
type options struct {
	redis, names, expected string
	cluster, json, once    bool

	channels, expect []string
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	var o options
	fs := flag.NewFlagSet("monitor", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.redis, "redis", "", "`URL` of a Redis, redis://… or rediss://… (default: $REDIS_URL, else $HEALTH_REDIS_HOST, _PORT and _PASSWORD)")
	fs.BoolVar(&o.cluster, "cluster", false, "the Redis is a Cluster")
	fs.StringVar(&o.names, "channels", "long", "`which` to listen to: long ("+heartbeat.DefaultChannel+"), short ("+heartbeat.ShortChannel+") or both")
	fs.StringVar(&o.expected, "expect", "", "`services` that ought to be there, such as geocoding,geofence")
	fs.BoolVar(&o.json, "json", false, "print one object for each event or, with -once, for each instance")
	fs.BoolVar(&o.once, "once", false, "print the table as it is now and end")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.Usage()
			fmt.Fprintln(os.Stdout, "Exit status: 2 when it could not start; with -once 0 when all are well, and 1 when somebody is dead or an expected service isn't there.")
			return o, err
		}
		return o, fmt.Errorf("%w (try -h)", err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q (try -h)", fs.Arg(0))
	}
	o.redis = cmp.Or(o.redis, getenv("REDIS_URL")) // no default of the flag: -h would show a password
	channels := map[string][]string{
		"long": {heartbeat.DefaultChannel}, "short": {heartbeat.ShortChannel}, "both": {heartbeat.DefaultChannel, heartbeat.ShortChannel},
	}
	if o.channels = channels[o.names]; o.channels == nil {
		return o, fmt.Errorf("-channels is %q: want long, short or both", o.names)
	}
	for service := range strings.SplitSeq(o.expected, ",") {
		if service = strings.TrimSpace(service); service == "" {
			continue
		}
		if err := heartbeat.ValidateName(service); err != nil {
			return o, fmt.Errorf("-expect names a service that can't be: %w", err)
		}
		o.expect = append(o.expect, service)
	}
	return o, nil
}

// connect returns a client, which connects when it is used, and what to call its server. The words of a URL's
// error are not passed on: they may be a piece of the password.
func connect(opts options) (rdb redis.UniversalClient, where string, err error) {
	if opts.redis == "" {
		o, err := heartbeat.RedisOptionsFromEnv()
		switch {
		case err != nil:
			return nil, "", err
		case opts.cluster:
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{o.Addr}, Password: o.Password}), o.Addr, nil
		}
		return redis.NewClient(o), o.Addr, nil
	}
	var o *redis.Options
	var co *redis.ClusterOptions
	if opts.cluster {
		if co, err = redis.ParseClusterURL(opts.redis); err == nil {
			return redis.NewClusterClient(co), strings.Join(co.Addrs, ","), nil
		}
	} else if o, err = redis.ParseURL(opts.redis); err == nil {
		return redis.NewClient(o), o.Addr, nil
	}
	return nil, "", errors.New("-redis or REDIS_URL can't be read: want redis://user:password@host:port/db or rediss://…, with special characters of the password as %XX")
}
