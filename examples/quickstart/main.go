// Quickstart runs the main job of upbeat on real processes: several workers
// do work and say that they are alive, a consumer stores every message that
// they send, and a table shows who is alive. Partway one worker is killed and
// another is asked to stop, so that the difference can be seen.
//
//	go run ./examples/quickstart              # Redis and SQLite are embedded
//	go run ./examples/quickstart -for 15s -json
//	REDIS_URL=redis://… DATABASE_URL=postgres://… go run ./examples/quickstart
//
// It exits with 0 when every message that was published is stored once, with 1
// when one was lost or doubled, and with 2 when it could not start.
package main

import (
	"cmp"
	"context"
	"encoding/json"
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
)

// options are what the command line and the environment say.
type options struct {
	runFor   time.Duration // 0: until interrupted
	json     bool
	redis    string // "": embedded
	database string // "": embedded
}

func main() {
	redis.SetLogger(silent{})
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(workerMain(os.Stdin, os.Stderr))
	}
	os.Exit(quickstart())
}

// silent keeps go-redis from writing to standard error in the middle of the table; what matters
// comes back as an error, and the packages log that.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func quickstart() int {
	opts, err := parseOptions(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		complain(err)
		return 2
	}
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	// A second ^C ends the program at once.
	context.AfterFunc(ctx, restore)

	rep, err := run(ctx, opts)
	if err != nil {
		complain(err)
		if _, early := errors.AsType[*startError](err); early {
			return 2
		}
		return 1
	}
	if opts.json {
		err = json.NewEncoder(os.Stdout).Encode(rep)
	} else {
		_, err = fmt.Fprintln(os.Stdout, rep)
	}
	// Who interrupts the first second has published nothing, and that is no failure.
	if nothing := rep.Published == 0 && ctx.Err() == nil; err != nil || nothing || !rep.Clean() {
		return 1
	}
	return 0
}

// complain says what went wrong in one line.
func complain(err error) {
	fmt.Fprintln(os.Stderr, "quickstart:", printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	var o options
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.DurationVar(&o.runFor, "for", 0, "how long to run, at least 3s, such as `15s` (default: until ^C)")
	fs.BoolVar(&o.json, "json", false, "print one summary object on standard output, and everything else on standard error")
	fs.StringVar(&o.redis, "redis", "", "`URL` of a Redis, redis://… or rediss://… (default: $REDIS_URL, else embedded)")
	fs.StringVar(&o.database, "database", "", "`URL` of a Postgres, postgres://… (default: $DATABASE_URL, else embedded SQLite)")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stdout)
			fs.Usage()
			fmt.Fprintln(os.Stdout, "Exit status: 0 when every message that was published is stored once, 1 when not, 2 when it could not start.")
			return o, err
		}
		return o, fmt.Errorf("%w (try -h)", err)
	}
	// Not as defaults of the flags: -h would show the passwords.
	o.redis, o.database = cmp.Or(o.redis, getenv("REDIS_URL")), cmp.Or(o.database, getenv("DATABASE_URL"))
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q (try -h)", fs.Arg(0))
	case o.runFor != 0 && o.runFor < shortestRun:
		return o, fmt.Errorf("-for is %s: want at least %s, or leave it out to run until ^C", o.runFor, shortestRun)
	}
	return o, nil
}
