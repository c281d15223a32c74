package consumer

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Message is one message on its way through a handler. Its memory isn't used again, but up to 16 messages share one allocation: copy
// what is to be kept for long. A handler may use it from several goroutines, except for Fail.
type Message[T any] struct {
	Raw
	// Value is the payload, decoded.
	Value T

	key     string
	err     error // set by Fail
	decoded bool
	settled bool
	suspect bool // an outage began with it: perhaps it is no outage
}

// Fail marks this message as failed, whatever becomes of the rest of its batch. A later call replaces the error; nil takes it back.
func (m *Message[T]) Fail(err error) { m.err = err }

// Permanent marks err as one that no further attempt will cure: the message goes to the dead letters at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

func isPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// PanicError is the failure of a function that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as debug.Stack prints it
}

// Error tells the value, not the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// recovered is deferred: a panic becomes *err.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}
