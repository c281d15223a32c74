//go:build !unix

package pool

import "syscall"

// hasInput doesn't know: go-redis looks at idle connections on Unix only, too.
func hasInput(syscall.RawConn) bool { return false }
