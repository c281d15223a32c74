//go:build !linux

package pool

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing where there is no such option: keepalive probes alone notice a vanished peer.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
