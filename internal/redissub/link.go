package redissub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redislink"
)

// link is one connection from its dial to its end.
type link struct {
	*redislink.Link
	// denied is what the server said to the PING of a user who may do without that right.
	denied error

	pulse   *pulse
	replies *decoder
}

// dial lets the client shake hands (TLS, HELLO, AUTH, Sentinel's search for the master). What is said on the connection after that goes
// past the client, whose own way to read a subscription can't tell silence from death.
func dial(ctx context.Context, origin *redis.Client, cfg Config) (*link, error) {
	l := &link{}
	made, err := redislink.Dial(ctx, origin, cfg.Timeout, func(opt *redis.Options) {
		opt.ReadBufferSize, opt.WriteBufferSize = 4<<10, 4<<10 // for the handshake alone
	}, l.greet)
	if err != nil {
		return nil, fmt.Errorf("redissub: %w", err)
	}
	l.Link = made
	l.pulse = &pulse{socket: made.Socket(), every: cfg.Ping, timeout: cfg.Timeout}
	l.replies = newDecoder(l.pulse, cfg.MaxBytes)
	return l, nil
}

func (l *link) greet(ctx context.Context, made *redislink.Link) error {
	err := made.Conn.Ping(ctx).Err()
	if redis.IsPermissionError(err) {
		l.denied, err = err, nil
	}
	return err
}

// subscribe returns when the server has confirmed every name. Messages that come in between go to message.
func (l *link) subscribe(cfg Config, message func(Message)) error {
	request := appendCommand(nil, "SUBSCRIBE", cfg.Channels)
	request = appendCommand(request, "PSUBSCRIBE", cfg.Patterns)
	if err := l.pulse.ask(request); err != nil {
		return errors.Join(err, l.denied)
	}
	for missing := len(cfg.Channels) + len(cfg.Patterns); missing > 0; {
		r, err := l.replies.next()
		if err != nil {
			return errors.Join(err, l.denied)
		}
		switch {
		case r.kind == '-':
			return fmt.Errorf("subscribe to %q: %w", slices.Concat(cfg.Channels, cfg.Patterns), ServerError(r.parts[0]))
		case r.confirms():
			missing--
		default:
			deliver(r, message)
		}
	}
	l.pulse.begin()
	return nil
}

// receive returns when the connection has failed. It calls proved after each answer of the server.
func (l *link) receive(message func(Message), proved func()) error {
	for {
		r, err := l.replies.next()
		if err != nil {
			return err
		}
		switch {
		case r.answers():
			if l.pulse.waiting() {
				l.pulse.answered()
				proved()
			}
		case r.kind == '-':
			return fmt.Errorf("the server: %w", ServerError(r.parts[0]))
		default:
			deliver(r, message)
		}
	}
}

// addr is the other side's.
func (l *link) addr() string { return l.pulse.socket.RemoteAddr().String() }

func appendCommand(request []byte, name string, args []string) []byte {
	if len(args) == 0 {
		return request
	}
	request = appendBulk(append(strconv.AppendInt(append(request, '*'), int64(len(args)+1), 10), "\r\n"...), name)
	for _, arg := range args {
		request = appendBulk(request, arg)
	}
	return request
}

func appendBulk(request []byte, s string) []byte {
	request = append(strconv.AppendInt(append(request, '$'), int64(len(s)), 10), "\r\n"...)
	return append(append(request, s...), "\r\n"...)
}
