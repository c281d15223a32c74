package heartbeat

import (
	"fmt"

	"github.com/redis/go-redis/v9"
)

// RightsError says which right the Redis user lacks.
type RightsError struct {
	// Command is what was refused, such as "publish", and Target the channel or the key that it was for.
	Command, Target string
	// Rule is what the user needs, as ACL SETUSER takes it, such as "+publish &health:service:geocoding:heartbeat".
	Rule string

	err error
}

// Error names the rule and adds what Redis said.
func (e *RightsError) Error() string {
	return fmt.Sprintf("the Redis user needs %s: %v", e.Rule, e.err)
}

// Unwrap returns what Redis said.
func (e *RightsError) Unwrap() error { return e.err }

// namingRight makes a RightsError of a refusal for want of a right, and leaves any other error alone. The command is
// one that has its channel or key as first argument.
func namingRight(cmd redis.Cmder, err error) error {
	if !redis.IsPermissionError(err) {
		return err
	}
	kind := "~"
	if cmd.Name() == "publish" {
		kind = "&"
	}
	target := fmt.Sprint(cmd.Args()[1])
	return &RightsError{cmd.Name(), target, "+" + cmd.Name() + " " + kind + target, err}
}
