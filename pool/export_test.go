package pool

import (
	"context"
	"log/slog"
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
		switch result {
		case nil:
			v = good
		case ErrNoVerdict:
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
