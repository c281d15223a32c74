//go:build unix

package pool

import "syscall"

// hasInput tells whether the socket has anything to read, its end included.
func hasInput(raw syscall.RawConn) (yes bool) {
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		yes = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK
		return true
	})
	return yes || err != nil
}
