//go:build unix

package pool

import "syscall"

// hasEnded tells whether the other side has closed the connection and nothing is left to read but, with TLS, the record that says so. It doesn't
// wait for a read that is under way, as hasInput would.
func hasEnded(t *transport) (yes bool) {
	socket, ok := t.socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		var b [64]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch err {
		case nil:
			yes = n == 0 || t.opaque && isAlert(b[:n])
		case syscall.EAGAIN, syscall.EINTR:
		default:
			yes = true
		}
	})
	return yes
}
