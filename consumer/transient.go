package consumer

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"
)

// IsTransient is the default of Config.IsTransient: the connection to another side failed, or something took too long. It knows
// the errors of the standard library: those of package net, broken connections, ends of files, deadlines and timeouts, and
// driver.ErrBadConn; and any error with a method IsTransient() bool that returns true.
//
// An io.EOF that a handler gets from reading its payload looks the same as one from a connection: return another error for it.
func IsTransient(err error) bool {
	if said, ok := errors.AsType[interface {
		error
		IsTransient() bool
	}](err); ok && said.IsTransient() {
		return true
	}
	// A net.Error would be too wide: every syscall.Errno is one, "no such file" included.
	if timed, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timed.Timeout() {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	for _, known := range transient {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

var transient = []error{
	context.DeadlineExceeded, driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed,
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
}
