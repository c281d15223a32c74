package pool

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// toRepeat returns what of a failed pipeline or transaction may be sent again. Commands that change something are sent all or none,
// as one that failed may have been meant to come before one that did not.
func toRepeat(ctx context.Context, cmds []redis.Cmder) []redis.Cmder {
	transaction := cmds[0].Name() == "multi"
	var failed []redis.Cmder
	repeatable, anyLost := true, false
	for _, cmd := range cmds {
		if f := fateOf(cmd.Err()); f != settled {
			failed = append(failed, cmd)
			anyLost = anyLost || f == lost
		}
		if !isRepeatable(ctx, cmd) && (!transaction || !isBracket(cmd)) {
			repeatable = false
		}
	}
	switch {
	case len(failed) == 0, !repeatable && (anyLost || len(failed) < len(cmds)):
		return nil
	case transaction:
		return cmds
	default:
		return failed
	}
}

// cleared takes the errors of the last attempt away; go-redis would leave those of MULTI and EXEC.
func cleared(cmds []redis.Cmder) []redis.Cmder {
	for _, cmd := range cmds {
		cmd.SetErr(nil)
	}
	return cmds
}

func isBracket(cmd redis.Cmder) bool { return cmd.Name() == "multi" || cmd.Name() == "exec" }

// concludedAll gives each command its error as the caller gets it, and returns the first.
func concludedAll(ctx context.Context, cmds []redis.Cmder) (first error) {
	for _, cmd := range cmds {
		if cmd.Err() == nil {
			continue
		}
		cmd.SetErr(concluded(cmd.Err(), cmd, isRepeatable(ctx, cmd)))
		if first == nil {
			first = cmd.Err()
		}
	}
	return first
}
