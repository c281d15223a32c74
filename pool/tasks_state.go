package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Task is what is known about a task. The zero Task is one that is not known.
type Task struct {
	State string
	// Token grows with each transition, over expiry and failover too unless the server's clock is set back: it is the clock's microseconds, or one more than
	// the last token. A store that remembers the highest token it saw, and refuses lower ones, is safe from late owners.
	Token int64
	// Owner is who made the transition.
	Owner string
}

// AnyToken in a Transition stands for whichever token the task has: the first to come makes the transition.
const AnyToken int64 = -1

// Transition is a step of a task from one state to another.
type Transition struct {
	Task string
	// From is the state that the task has to be in; empty: not known yet. To is the new one.
	From, To string
	// Token is the task's, as the last Transition or State gave it: 0 for a task that is not known yet. With any other the step is
	// refused, as somebody else has changed the task since. Or AnyToken.
	Token int64
	// Owner is who will have the task, usually the worker that Beat names; may be empty.
	Owner string
	// Request names this step among all of the task: with the same name it is made once, however often it is asked for.
	// Empty: each call is a step of its own.
	Request string
	// Keep is how long the task is remembered after this, a millisecond or more; zero: for ever. For final states.
	Keep time.Duration
}

// StaleError refuses a Transition: the task is not, or not any more, as the caller believes.
type StaleError struct {
	Transition Transition
	Now        Task // as the task is
}

// Error tells both sides.
func (e *StaleError) Error() string {
	return fmt.Sprintf("pool: task %q is %v: want %v for the transition to %q",
		e.Transition.Task, e.Now, Task{State: e.Transition.From, Token: e.Transition.Token}, e.Transition.To)
}

// String shows the state, token and owner.
func (t Task) String() string {
	s := "unknown"
	if t.State != "" {
		s = strconv.Quote(t.State)
	}
	switch {
	case t.Token == AnyToken:
		s += " with any token"
	case t.Token != 0:
		s += fmt.Sprintf(" with token %d", t.Token)
	}
	if t.Owner != "" {
		s += fmt.Sprintf(" of %q", t.Owner)
	}
	return s
}

// Transition makes a step and returns the task with its new token, or a [*StaleError] if the task is in another state or has another
// token: the step was not made, or, where a reply was lost, the task has moved on since.
//
// After an error that left the outcome open, the same Transition with the same Request finds out: if the step was made it returns the
// task as that left it, and if the task has moved on since, a StaleError. The newest eight requests of a task are remembered.
func (t Tasks) Transition(ctx context.Context, step Transition) (Task, error) {
	if err := t.check(step.validate()); err != nil {
		return Task{}, err
	}
	token := ""
	if step.Token != AnyToken {
		token = strconv.FormatInt(step.Token, 10)
	}
	request := orDefault(step.Request, rand.Text())
	reply, err := transition.Run(Idempotent(ctx), t.rdb, []string{t.taskKey(step.Task)},
		step.From, step.To, token, step.Owner, request, step.Keep.Milliseconds()).StringSlice()
	if err != nil {
		return Task{}, t.failed("task", step.Task, err)
	}
	task, err := parseTask(reply[1:])
	if err != nil {
		return Task{}, t.failed("task", step.Task, err)
	}
	if reply[0] != "made" {
		return Task{}, &StaleError{Transition: step, Now: task}
	}
	return task, nil
}

// State returns a task as it is, the zero Task if it isn't known.
func (t Tasks) State(ctx context.Context, task string) (Task, error) {
	if err := t.check(nameOf("task", task)); err != nil {
		return Task{}, err
	}
	fields, err := t.rdb.HMGet(ctx, t.taskKey(task), "state", "token", "owner").Result()
	if err != nil {
		return Task{}, t.failed("task", task, err)
	}
	texts := make([]string, len(fields))
	for i, field := range fields {
		texts[i], _ = field.(string)
	}
	found, err := parseTask(texts)
	return found, t.failed("task", task, err)
}

func (t Tasks) taskKey(task string) string { return t.Prefix + ":task:{" + task + "}" }

func parseTask(fields []string) (Task, error) {
	token, err := strconv.ParseInt(orDefault(fields[1], "0"), 10, 64)
	if err != nil {
		return Task{}, fmt.Errorf("its key holds no token: %w", err)
	}
	return Task{State: fields[0], Token: token, Owner: fields[2]}, nil
}

func (s Transition) validate() error {
	errs := []error{nameOf("Transition.Task", s.Task), nameOf("Transition.To", s.To)}
	for _, optional := range [][2]string{{"From", s.From}, {"Owner", s.Owner}, {"Request", s.Request}} {
		if optional[1] != "" {
			errs = append(errs, nameOf("Transition."+optional[0], optional[1]))
		}
	}
	if s.Token < AnyToken || (s.Token != AnyToken && (s.Token == 0) != (s.From == "")) {
		errs = append(errs, fmt.Errorf("pool: Transition.Token is %d from state %q: want the task's, 0 for one that is not known, or AnyToken", s.Token, s.From))
	}
	if s.Keep != 0 {
		errs = append(errs, positive("Transition.Keep", s.Keep))
	}
	return errors.Join(errs...)
}

// transition compares and sets. The list of requests has the newest first, and a line break before and after each.
var transition = redis.NewScript(`
local from, to, expected, owner, request, keep = unpack(ARGV)
local task = redis.call('HMGET', KEYS[1], 'state', 'token', 'owner', 'requests')
local state, token, requests = task[1] or '', task[2] or '0', task[4] or '\n'
local line = '\n' .. request .. '\n'
local seen = string.find(requests, line, 1, true)
if seen == 1 and state == to then
  return {'made', state, token, task[3] or ''}
end
if seen or state ~= from or (expected ~= '' and expected ~= token) then
  return {'stale', state, token, task[3] or ''}
end
local time = redis.call('TIME')
token = string.format('%.0f', math.max(tonumber(token) + 1, time[1] * 1000000 + time[2]))
requests = '\n' .. request .. requests
local last = 0
for _ = 1, 9 do
  last = last and string.find(requests, '\n', last + 1, true)
end
if last then
  requests = string.sub(requests, 1, last)
end
redis.call('HSET', KEYS[1], 'state', to, 'token', token, 'owner', owner, 'requests', requests)
if keep == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], keep)
end
return {'made', to, token, owner}`)
