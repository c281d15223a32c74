package pool

import (
	"errors"
	"syscall"
	"time"
)

// setUserTimeout limits how long sent data may stay unacknowledged.
func setUserTimeout(c syscall.RawConn, limit time.Duration) error {
	const tcpUserTimeout = 18 // TCP_USER_TIMEOUT of <linux/tcp.h>, on every architecture
	var err error
	ctl := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(limit.Milliseconds()))
	})
	return errors.Join(ctl, err)
}
