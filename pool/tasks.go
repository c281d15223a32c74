package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
)

// Tasks keeps what workers tell about themselves and their tasks: signs of life, states that change by compare-and-set, counters. Each
// call is one round trip on a connection of Standard's. Safe for concurrent use.
//
// The keys, in a Cluster each call's in one slot:
//
//	tasks:worker:{<worker>}             string, expires with the worker's last beat
//	tasks:task:{<task>}                 hash: state, token, owner, requests (the newest eight, a line each)
//	tasks:count:{<counter>}             string, the total
//	tasks:count:{<counter>}:once:<id>   string, expires when the id is forgotten
//
// All names are 1 to 512 bytes without braces and control characters.
//
// Calls that may run twice (Beat, Leave, Transition, AddOnce) are repeated like reads when their reply is lost: see [Idempotent]. Where an
// error says that there was no answer all the same, the call may have had its effect, and these may simply be made again.
// Redis replicates after it has answered: a failover may undo what was done right before it.
type Tasks struct {
	// Prefix takes the place of "tasks" in all keys, and is a name as they are. A copy of Tasks may have another: set it before use.
	Prefix string

	rdb redis.UniversalClient
}

// Tasks is the client for workers and their tasks.
func (c *Clients) Tasks() Tasks { return Tasks{Prefix: "tasks", rdb: c.standard} }

// Beat says that a worker is alive, for ttl (a millisecond or more) from now. It may be repeated.
func (t Tasks) Beat(ctx context.Context, worker string, ttl time.Duration) error {
	if err := t.check(nameOf("worker", worker), positive("ttl", ttl)); err != nil {
		return err
	}
	return t.failed("worker", worker, t.rdb.Set(Idempotent(ctx), t.workerKey(worker), 1, ttl).Err())
}

// Leave says that a worker has ended, before its last beat runs out. It may be repeated.
func (t Tasks) Leave(ctx context.Context, worker string) error {
	if err := t.check(nameOf("worker", worker)); err != nil {
		return err
	}
	return t.failed("worker", worker, t.rdb.Del(Idempotent(ctx), t.workerKey(worker)).Err())
}

// Alive tells whether the last beat of a worker holds. That it doesn't is no proof that the worker has stopped: whoever takes its task over
// does so by [Tasks.Transition], which refuses the late worker.
func (t Tasks) Alive(ctx context.Context, worker string) (bool, error) {
	if err := t.check(nameOf("worker", worker)); err != nil {
		return false, err
	}
	n, err := t.rdb.Exists(ctx, t.workerKey(worker)).Result()
	return n > 0, t.failed("worker", worker, err)
}

func (t Tasks) workerKey(worker string) string { return t.Prefix + ":worker:{" + worker + "}" }

func (t Tasks) failed(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pool: %s %q: %w", kind, name, err)
}

const longestName = 512

// check joins what is wrong with a call, and with Tasks itself.
func (t Tasks) check(errs ...error) error {
	if t.rdb == nil {
		return errNoTasks
	}
	return errors.Join(append(errs, nameOf("Tasks.Prefix", t.Prefix))...)
}

var errNoTasks = errors.New("pool: a Tasks without a client: want one of Clients.Tasks")

// nameOf refuses what would break a key, or the list of requests, apart.
func nameOf(what, name string) error {
	if name == "" || len(name) > longestName || strings.ContainsFunc(name, isForbidden) {
		return fmt.Errorf("pool: %s is %.40q: want 1 to %d bytes without braces and control characters", what, name, longestName)
	}
	return nil
}

func isForbidden(r rune) bool { return r == '{' || r == '}' || unicode.IsControl(r) }

func positive(what string, d time.Duration) error {
	if d < time.Millisecond {
		return fmt.Errorf("pool: %s is %v: want 1ms or more", what, d)
	}
	return nil
}
