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

// isAlert tells whether all of b is one TLS record with an alert. From TLS 1.3 on it is sealed as data is, but no reply of Redis is
// as short: two bytes, their type and a tag of 16.
func isAlert(b []byte) bool {
	const header, alert, data = 5, 21, 23
	if len(b) < header || len(b) != header+int(b[3])<<8+int(b[4]) {
		return false
	}
	return b[0] == alert || b[0] == data && len(b) == header+2+1+16
}
