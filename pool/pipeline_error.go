package pool

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

// ErrNotSent is the error of a command that was left out because its batch had failed before, or its time was over.
var ErrNotSent = errors.New("pool: not sent")

// BatchError says what became of a batch of which a command failed. Those of its commands that are in none of the lists ran, or found
// nothing (redis.Nil). Each command has its own error as well.
type BatchError struct {
	// Refused are those that got an error for an answer. They changed nothing, scripts that failed halfway excepted.
	Refused []redis.Cmder
	// Unknown are those that were sent, perhaps, and never answered. They may have run: only what is idempotent may be sent again.
	Unknown []redis.Cmder
	// NotSent certainly didn't run and may be sent again.
	NotSent []redis.Cmder

	commands int
	first    error
	hint     string
}

// Error tells the numbers and the first failure. It shows no arguments.
func (e *BatchError) Error() string {
	return fmt.Sprintf("pool: of a batch of %d, %d were refused, %d may have run and %d were not sent: %s%v",
		e.commands, len(e.Refused), len(e.Unknown), len(e.NotSent), e.hint, e.first)
}

// Unwrap is the error of the first command that failed.
func (e *BatchError) Unwrap() error { return e.first }

// verdict sorts the commands, if go-redis found an error in them.
func (p Pipeline) verdict(cmds []redis.Cmder, err error) error {
	if err == nil {
		return nil
	}
	e := &BatchError{commands: len(cmds)}
	absent := false
	for _, cmd := range cmds {
		failure := cmd.Err()
		switch {
		case failure == nil:
			continue
		case errors.Is(failure, redis.Nil):
			absent = true
			continue
		case p.neverSent(failure):
			e.NotSent = append(e.NotSent, cmd)
		case isReply(failure):
			e.Refused = append(e.Refused, cmd)
		default:
			e.Unknown = append(e.Unknown, cmd)
		}
		if e.first == nil {
			e.first = failure
		}
	}
	switch {
	case e.first != nil:
		if errors.Is(e.first, redis.ErrCrossSlot) {
			e.hint = "in a Cluster all keys of one transaction or command have to share a hash tag, as {order:7}:paid and {order:7}:sum do: "
		}
		return e
	case absent:
		return redis.Nil
	default:
		return err
	}
}

// neverSent is true only where it is certain.
func (p Pipeline) neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op == "dial" || errors.Is(err, ErrNotSent)
	}
	for _, before := range []error{ErrNotSent, ErrOpen, redis.ErrPoolTimeout, redis.ErrPoolExhausted, redis.ErrClosed} {
		if errors.Is(err, before) {
			return true
		}
	}
	// A context's own error comes from the wait for a connection; one that ends later is told as a timeout of the read. In a Cluster it may come
	// from a pause in which some commands have run.
	_, single := p.rdb.(*redis.Client)
	return single && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}

// unanswered tells whether a command failed for another reason than the server's answer.
func unanswered(cmd redis.Cmder) bool {
	err := cmd.Err()
	return err != nil && !isReply(err)
}
