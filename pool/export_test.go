package pool

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestBreaker is a breaker without a Redis.
type TestBreaker struct{ b *breaker }

func NewTestBreaker(cfg Breaker, onTrip func()) TestBreaker {
	c := Config{Breaker: cfg.withDefaults(), Logger: slog.New(slog.DiscardHandler)}
	return TestBreaker{c.newBreaker("node", &breakers{}, onTrip)}
}

// Call is one call with its result: nil is good, ErrNoVerdict says nothing, anything else is bad.
func (t TestBreaker) Call(result error) error {
	end, err := t.Begin()
	if err != nil {
		return err
	}
	end(result)
	return nil
}

func (t TestBreaker) Begin() (end func(error), err error) {
	probe, err := t.b.enter()
	return func(result error) {
		v := bad
		switch {
		case result == nil:
			v = good
		case errors.Is(result, ErrNoVerdict):
			v = noVerdict
		}
		t.b.leave(probe, v, result)
	}, err
}

func (t TestBreaker) Stats() BreakerStats { return t.b.stats() }

var ErrNoVerdict = errNoMaster

// DialGate is a dialGate without a network.
var NewDialGate = newDialGate

func (d *dialGate) Enter(ctx context.Context, addr string) (func(), error) { return d.enter(ctx, addr) }
func (d *dialGate) Len() int                                               { return len(d.gates) }

var Reads = reads

// Diary is what Run writes.
type Diary struct{ d *diary }

func NewDiary(log *slog.Logger, s Stats) Diary { return Diary{newDiary(log, time.Second, s)} }

func (d Diary) Note(now time.Time, h Health) { d.d.note(context.Background(), now, h) }

func (d Diary) NotePool(now time.Time, s Stats) { d.d.notePool(context.Background(), now, s) }

// Nodes are what go-redis has made for a Cluster.
type Nodes struct{ n nodes }

func (n *Nodes) Add(node *redis.Client) { n.n.add(node) }

func (n *Nodes) Sum() NodeStats {
	all, sum := n.n.each()
	for _, node := range all {
		sum.add(node)
	}
	return sum
}

func IsAlert(b []byte) bool { return isAlert(b) }

// WithLifetime has connections replaced sooner.
func WithLifetime(cfg Config, lifetime time.Duration) Config {
	cfg.limits.lifetime = lifetime
	return cfg
}

// Hurry makes the waits shorter that nobody can set: for a connection and a dial, and for a first answer.
func Hurry(cfg Config, queueAndDial, greet time.Duration) Config {
	cfg.limits = limits{queue: queueAndDial, dial: queueAndDial, greet: greet}
	return cfg
}

// Limits are the waits that nobody can set.
func Limits() (queue, dial, greet time.Duration) {
	l := limits{}.withDefaults()
	return l.queue, l.dial, l.greet
}

// NewClientOver is a client with the settings of Standard, over connections of the test's own.
func NewClientOver(cfg Config, dial func(context.Context, string, string) (net.Conn, error)) (*redis.Client, error) {
	cfg, err := cfg.resolved()
	opt := cfg.options(cfg.Profile.MaxConnections, unmarked)
	opt.Dialer = dial
	return redis.NewClient(opt.Simple()), err
}
