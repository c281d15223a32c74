package heartbeat

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redissub"
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
	kind := "~"
	if cmd.Name() == "publish" {
		kind = "&"
	}
	target := fmt.Sprint(cmd.Args()[1])
	return missingRight(err, cmd.Name(), target, "+"+cmd.Name()+" "+kind+target)
}

// missingRight makes a RightsError of a refusal for want of a right, and leaves any other error alone.
func missingRight(err error, command, target, rule string) error {
	refusal, refused := errors.AsType[redissub.ServerError](err)
	if !redis.IsPermissionError(err) && (!refused || !refusal.Denied()) {
		return err
	}
	// The client asks for the nodes of a Cluster before it sends anything.
	if _, rest, found := strings.Cut(err.Error(), "'cluster|"); found {
		subcommand, _, _ := strings.Cut(rest, "'")
		command, target, rule = "cluster", subcommand, "+cluster|"+subcommand
	}
	return &RightsError{Command: command, Target: target, Rule: rule, err: err}
}
