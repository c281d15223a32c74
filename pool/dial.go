package pool

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// dialer makes the connections of all clients. A dialer of our own is the only way to both set TCP_USER_TIMEOUT and have TLS obey the
// context, as go-redis leaves TLS and keepalive to whoever brings one.
type dialer struct {
	tls       *tls.Config
	keepAlive KeepAlive
	marks     marks
	limit     time.Duration   // of a dial
	life      context.Context // ends its dials, and its connections
	gate      *dialGate
	sockets   *sockets
}

func (d dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)() //nolint:contextcheck // it ends with Clients, too
	leave, err := d.gate.enter(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer leave()
	socket, err := d.net().DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	t := &transport{Conn: socket, socket: socket, marks: d.marks}
	t.unlink = context.AfterFunc(d.life, func() { _ = socket.Close() }) //nolint:contextcheck // as above
	if d.tls != nil {
		secure := tls.Client(socket, d.tlsFor(addr))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = t.Close()
			return nil, err
		}
		t.Conn, t.opaque = secure, true
	}
	if d.sockets != nil {
		return d.sockets.keep(t, addr), nil
	}
	return t, nil
}

func (d dialer) net() *net.Dialer {
	if d.keepAlive.Idle < 0 {
		return &net.Dialer{KeepAlive: -1}
	}
	k := d.keepAlive
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: k.Idle, Interval: k.Interval, Count: k.Probes},
		Control: func(network, _ string, c syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			return setUserTimeout(c, k.patience())
		},
	}
}

func (d dialer) tlsFor(addr string) *tls.Config {
	cfg := d.tls.Clone()
	if cfg.ServerName == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			cfg.ServerName = host
		}
	}
	return cfg
}
