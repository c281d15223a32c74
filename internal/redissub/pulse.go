package redissub

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// pulse reads from a connection and knows whether it lives: it asks at a steady pace, answers or not, and one question is out at a time.
// The server answers in order, so an answer proves more than that: whatever was published before the question has been received.
//
// Nothing but the reader touches it, so a slow reader is never taken for a dead connection: the time counts from the read on.
type pulse struct {
	socket         net.Conn
	every, timeout time.Duration

	due    time.Time // the next question
	asked  time.Time // the one that is out; zero for none
	proven time.Time // all that was published from the subscription on to here has been received
}

var ping = []byte("PING\r\n")

// Read waits for bytes for as long as the other side may be alive.
func (p *pulse) Read(buf []byte) (int, error) {
	for {
		if !p.waiting() && time.Until(p.due) <= 0 {
			if err := p.ask(ping); err != nil {
				return 0, err
			}
		}
		deadline := p.due
		if p.waiting() {
			deadline = time.Now().Add(p.timeout)
		}
		if err := p.socket.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		n, err := p.socket.Read(buf)
		switch {
		case n > 0:
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		case p.waiting():
			return 0, fmt.Errorf("no answer within %v", p.timeout)
		}
	}
}

// ask sends a request that will be answered.
func (p *pulse) ask(request []byte) error {
	now := time.Now()
	if err := p.socket.SetWriteDeadline(now.Add(p.timeout)); err != nil {
		return err
	}
	if _, err := p.socket.Write(request); err != nil {
		return err
	}
	p.asked, p.due = now, now.Add(p.every)
	return nil
}

func (p *pulse) waiting() bool { return !p.asked.IsZero() }

// answered notes the answer to the question that is out.
func (p *pulse) answered() {
	p.proven, p.asked = p.asked, time.Time{}
}

// begin notes that the subscription is in force: what is published from now on will come.
func (p *pulse) begin() {
	p.proven, p.asked = time.Now(), time.Time{}
}
