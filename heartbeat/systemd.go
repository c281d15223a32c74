package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const notifyTimeout = time.Second

// Systemd is where systemd listens for news of this process. The zero Systemd is nowhere.
type Systemd struct {
	// Socket is the path of a datagram socket, or "@" and its name when it is an abstract one. Empty means none.
	Socket string
	// Watchdog is how long systemd waits for a sign of life before it kills the process; it gets one at half of that,
	// while no loop is stuck. 0 means that it doesn't wait.
	Watchdog time.Duration
}

// SystemdFromEnv returns what systemd told this process in NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. The result
// is the zero Systemd where there is no systemd, and without Watchdog where that is for another process. An error names the
// variable. It does not block.
func SystemdFromEnv() (Systemd, error) {
	s := Systemd{Socket: os.Getenv("NOTIFY_SOCKET")}
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if s.Socket == "" {
		return Systemd{}, nil
	}
	var p problems
	s.check(&p, "NOTIFY_SOCKET", "WATCHDOG_USEC")
	if usec != "" && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n, err := strconv.ParseInt(usec, 10, 64)
		if limit := int64(100 * maxInterval / time.Microsecond); err != nil || n <= 0 || n > limit {
			p.addf("WATCHDOG_USEC is %q: want 1 to %d", usec, limit)
		} else {
			s.Watchdog = time.Duration(n) * time.Microsecond
		}
	}
	return s, errors.Join(p...)
}

func (s Systemd) check(p *problems, socket, watchdog string) {
	if s.Socket != "" && (len(s.Socket) < 2 || !strings.ContainsAny(s.Socket[:1], "/@")) {
		p.addf("%s is %q: want an absolute path, or @ and a name", socket, s.Socket)
	}
	if s.Watchdog < 0 {
		p.addf("%s is %v: want more than 0, or 0 for none", watchdog, s.Watchdog)
	}
}

// notify tells systemd a state such as "READY=1". It blocks for at most a second: the socket's buffer may be full.
func (s Systemd) notify(ctx context.Context, state string) error {
	if s.Socket == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", s.Socket)
	if err != nil {
		return fmt.Errorf("heartbeat: tell systemd %s: %w", state, err)
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetWriteDeadline(deadline)
	_, err = conn.Write([]byte(state))
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("heartbeat: tell systemd %s: %w", state, err)
	}
	return nil
}
