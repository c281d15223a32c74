package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

type (
	idempotentKey struct{}
	onceKey       struct{} // of what asks again by itself
)

// Idempotent declares that commands called with the returned context may run more than once: SET and DEL, say, whose second run changes
// nothing. Standard repeats such a command after a lost connection, within the profile's RetryBudget.
func Idempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

// LostReplyError says that a command, or a pipeline, was sent and its connection failed before the reply: it may have run or not. It
// is a net.Error. A command that only reads, or was declared [Idempotent], doesn't fail with it.
type LostReplyError struct {
	Command string // its name in lower case
	cause   error
}

func (e *LostReplyError) Error() string {
	return fmt.Sprintf("pool: %s may have run or not, its reply was lost: %v", e.Command, e.cause)
}

// Unwrap returns what happened to the connection.
func (e *LostReplyError) Unwrap() error { return e.cause }

// Timeout tells whether the reply didn't come in time.
func (e *LostReplyError) Timeout() bool { return isTimeout(e.cause) }

// Temporary is what net.Error asks for.
func (e *LostReplyError) Temporary() bool { return true }

const (
	firstRetryPause = 8 * time.Millisecond
	mostRetryPause  = 256 * time.Millisecond
)

// retry is the outermost hook of Standard: it repeats what may be repeated, and says so where it doesn't know.
type retry struct {
	budget time.Duration // negative: nothing is repeated
}

func (r retry) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r retry) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		if err == nil || err == redis.Nil || isHandshake(cmd) { //nolint:errorlint // the fast path; wrapped ones are judged below
			return err
		}
		if ctx.Value(onceKey{}) != nil {
			return plain(err)
		}
		repeatable := isRepeatable(ctx, cmd)
		allowed := func(err error) bool {
			f := fateOf(err)
			return f < lost || f == lost && repeatable
		}
		err = r.repeat(ctx, start, err, allowed, func(ctx context.Context) error { return next(ctx, cmd) })
		return concluded(err, cmd, repeatable)
	}
}

func (r retry) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmds)
		if err == nil || len(cmds) > 0 && isHandshake(cmds[0]) {
			return err
		}
		var part []redis.Cmder
		allowed := func(error) bool {
			again := toRepeat(ctx, cmds)
			if len(again) > 0 {
				part = again
			}
			return len(again) > 0
		}
		err = r.repeat(ctx, start, err, allowed, func(ctx context.Context) error { return next(ctx, cleared(part)) })
		if first := concludedAll(ctx, cmds); first != nil {
			return first
		}
		return plain(err)
	}
}

// repeat calls again for as long as allowed says so of the newest error, and returns that. A breaker that opens meanwhile fails those who come
// later at once; who is here already waits for its probe.
func (r retry) repeat(ctx context.Context, start time.Time, err error, allowed func(error) bool, again func(context.Context) error) error {
	for n := 1; allowed(err) || n > 1 && errors.Is(err, ErrOpen); n++ {
		pause := backoff.Shorten(backoff.Exponential(n, firstRetryPause, mostRetryPause), 0.5, rand.Float64())
		// What is left has to be worth an attempt, or a healthy server would be found too slow.
		if time.Since(start)+pause > r.budget*3/4 || !wait(ctx, pause) {
			return err
		}
		bounded, cancel := context.WithDeadline(ctx, start.Add(r.budget))
		next := again(bounded)
		cancel()
		if next == nil {
			return nil
		}
		// A deadline that isn't the caller's would be no answer.
		if isSame(next, err) || errors.Is(next, context.DeadlineExceeded) && ctx.Err() == nil {
			return err
		}
		err = next
	}
	return err
}

// isSame tells whether an attempt met the failure of the one before it, as on the one connection of a transaction: that one
// is gone, and another would know nothing of its WATCH.
func isSame(next, err error) bool {
	a, ok := errors.AsType[*linkError](next)
	b, also := errors.AsType[*linkError](err)
	return ok && also && a == b
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// concluded is the error as the caller gets it.
func concluded(err error, cmd redis.Cmder, repeatable bool) error {
	if fateOf(err) == lost && !repeatable {
		return &LostReplyError{Command: cmd.Name(), cause: plain(err)}
	}
	return plain(err)
}

// fate is what became of a command that failed.
type fate int

const (
	unsent  fate = iota + 1 // there was no connection
	refused                 // the server doesn't run commands now
	lost                    // it was sent, and nobody knows
	settled                 // nothing would be gained by sending it again
)

func fateOf(err error) fate {
	switch {
	case err == nil:
		return settled
	case isReply(err):
		if isBusy(err) || redis.IsReadOnlyError(err) || redis.IsTryAgainError(err) || redis.IsMaxClientsError(err) {
			return refused
		}
		return settled
	case isUnsent(err):
		return unsent
	}
	if _, ok := errors.AsType[*linkError](err); ok {
		return lost
	}
	return settled
}

func isUnsent(err error) bool {
	_, ok := errors.AsType[*dialError](err)
	return ok && !errors.Is(err, context.Canceled) && !isTLS(err) // a certificate doesn't become valid in time
}
