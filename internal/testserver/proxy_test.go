package testserver_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

// peer is one side of a connection that speaks in lines.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (p *peer) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.conn, line+"\n")
	require.NoError(p.t, err)
}

func (p *peer) hears(line string) {
	p.t.Helper()
	got, err := p.read(wait)
	require.NoError(p.t, err)
	require.Equal(p.t, line, got)
}

func (p *peer) hearsNothing() {
	p.t.Helper()
	got, err := p.read(200 * time.Millisecond)
	require.ErrorIs(p.t, err, os.ErrDeadlineExceeded, "got %q", got)
}

func (p *peer) read(patience time.Duration) (string, error) {
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	line, err := p.r.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// isReset tells a reset from silence and from an orderly end.
func (p *peer) isReset() {
	p.t.Helper()
	_, err := p.read(wait)
	require.Error(p.t, err)
	require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
	require.NotErrorIs(p.t, err, io.EOF)
}

// network is a server behind a proxy.
type network struct {
	*testserver.Proxy
	t      *testing.T
	server net.Listener
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return &network{Proxy: testserver.StartProxy(t, server.Addr().String()), t: t, server: server}
}

func (n *network) newPeer(conn net.Conn) *peer {
	n.t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: n.t, conn: conn, r: bufio.NewReader(conn)}
}

func (n *network) dial() *peer {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.Addr())
	require.NoError(n.t, err)
	return n.newPeer(conn)
}

func (n *network) accept() *peer {
	n.t.Helper()
	conn, err := n.server.Accept()
	require.NoError(n.t, err)
	return n.newPeer(conn)
}

// pair is a client and its server, through the proxy.
func (n *network) pair() (client, server *peer) {
	n.t.Helper()
	client = n.dial()
	server = n.accept()
	client.say("hello")
	server.hears("hello")
	server.say("welcome")
	client.hears("welcome")
	return client, server
}

func TestProxy_Pass(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()
	require.Equal(t, 1, n.Connections())

	require.NoError(t, client.conn.(*net.TCPConn).CloseWrite())
	_, err := server.read(wait)
	require.ErrorIs(t, err, io.EOF)
	server.say("goodbye")
	client.hears("goodbye")
	require.Zero(t, n.Connections())

	client, server = n.pair()
	require.NoError(t, server.conn.Close())
	_, err = client.read(wait)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 1, n.Connections())
	require.NoError(t, client.conn.Close())
	require.Eventually(t, func() bool { return n.Connections() == 0 }, wait, tick)
}

func TestProxy_PassToNobody(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	require.NoError(t, n.server.Close())
	conn, err := net.Dial("tcp", n.Addr())
	if err == nil { // else the reset was faster
		n.newPeer(conn).isReset()
	}
}

func TestProxy_Latency(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()

	n.Latency(100 * time.Millisecond)
	start := time.Now()
	for _, word := range []string{"one", "two", "three"} {
		client.say(word)
	}
	server.hears("one")
	server.say("reply")
	client.hears("reply")
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
	server.hears("two")
	server.hears("three")
	n.Pass()
	n.pair()
}

func TestProxy_BlackHole(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()

	n.BlackHole()
	client.say("request")
	server.hearsNothing()
	server.say("push")
	client.hearsNothing()
	newcomer := n.dial()
	newcomer.say("request")
	newcomer.hearsNothing()
	leaver := n.dial()
	require.NoError(t, leaver.conn.Close())
	require.Eventually(t, func() bool { return n.Connections() == 2 }, wait, tick)

	n.Pass()
	server.hears("request")
	client.hears("push")
	n.server.(*net.TCPListener).SetDeadline(time.Now().Add(wait)) //nolint:errcheck // accept would tell
	for {
		if line, err := n.accept().read(wait); err == nil { // else it was the leaver
			require.Equal(t, "request", line)
			break
		}
	}
}

func TestProxy_DropReplies(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	robbed, robber := n.pair()
	quiet, other := n.pair()

	n.DropReplies()
	robbed.say("request")
	robber.hears("request")
	robber.say("reply")
	robbed.hearsNothing()

	n.Pass()
	robbed.isReset()
	other.say("reply")
	quiet.hears("reply")
	n.pair()

	n.DropReplies()
	quiet.say("request")
	other.hears("request")
	n.Pass() // before there is an answer
	quiet.isReset()
}

func TestProxy_HalfOpen(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()

	n.HalfOpen()
	_, err := server.read(wait)
	require.ErrorIs(t, err, io.EOF)
	client.say("request")
	client.hearsNothing()
	newcomer := n.dial()
	newcomer.say("request")
	newcomer.hearsNothing()
	require.Equal(t, 2, n.Connections())

	n.Pass()
	client.say("request")
	client.hearsNothing()
	newcomer.hearsNothing()
	n.pair()
	require.NoError(t, client.conn.Close())
	require.Eventually(t, func() bool { return n.Connections() == 2 }, wait, tick)
}

func TestProxy_Reset(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()
	n.Reset()
	client.isReset()
	server.isReset()
	n.pair()
}

func TestProxy_Refuse(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	client, server := n.pair()

	n.Refuse()
	n.Refuse()
	client.isReset()
	server.isReset()
	_, err := net.Dial("tcp", n.Addr())
	require.Error(t, err)

	n.BlackHole()
	stalled := n.dial()
	n.Pass()
	stalled.say("request")
	n.accept().hears("request")
	n.pair()
}
