package heartbeat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redislink"
)

// Publisher tells Redis at a steady pace that this process is alive. It is what other systems call a
// HeartbeatPublisher. All methods are safe for concurrent use.
type Publisher struct {
	service string
	run     string // tells this life of the instance from others
	cfg     Config
	born    time.Time

	host string // where this runs; empty when that can't be said

	collectors collectors
	loops      loops
	courier    courier
	tally      tally

	ran      atomic.Bool
	draining atomic.Bool
	ended    atomic.Bool // nothing but the goodbye may follow

	// turn holds one token: who has it sends a beat, and owns the fields below. A channel and not a mutex, because
	// collectors run meanwhile, and because waiting for it must end with a context.
	turn     chan struct{}
	meter    meter
	episodes episodes
}

// NewPublisher returns a publisher for one instance of a service, or all that is wrong with its arguments. It talks
// to nobody and starts nothing; rdb stays the caller's to close, after Run has returned.
func NewPublisher(rdb redis.UniversalClient, service string, cfg Config) (*Publisher, error) {
	cfg, err := cfg.complete(service)
	if redislink.IsNil(rdb) {
		err = errors.Join(errors.New("heartbeat: rdb is nil: want a Redis client"), err)
	}
	if err != nil {
		return nil, err
	}
	p := newPublisher(newRedisTransport(rdb, cfg).publish, readUsage, readContainer, service, cfg)
	p.host = hostName(os.Hostname())
	return p, nil
}

func newPublisher(
	publish publishFunc, read func(context.Context) (usage, error), contain func() containerUsage, service string, cfg Config,
) *Publisher {
	p := &Publisher{
		service: service, run: rand.Text()[:13], cfg: cfg, born: time.Now(),
		collectors: newCollectors(cfg),
		courier:    courier{publish: publish, out: make(chan struct{}, maxTrips)},
		turn:       make(chan struct{}, 1),
		meter:      meter{read: read, contain: contain},
		episodes: episodes{
			what:    "heartbeats",
			log:     cfg.Logger.With("service", service, "instance", cfg.Instance),
			failing: map[string]bool{},
		},
	}
	p.tally.stats.Service, p.tally.stats.Instance = service, cfg.Instance
	return p
}

// Instance returns the name of this instance: Config.Instance, or the UUID made in its place.
func (p *Publisher) Instance() string { return p.cfg.Instance }

// Collect adds a field of the service's own to every following beat: the value that collect returns, as
// encoding/json writes it. Each beat calls collect in a goroutine of its own, side by side with the others, and
// waits for it at most Config.CollectTimeout. When it errs, panics, hangs, or returns what JSON can't hold, the beat
// goes out without the field and says why; while it hangs it is not called again.
//
// It fails when name is taken, is one of the names that every beat has, is longer than 64 bytes or isn't printable,
// and beyond Config.MaxFields. Collectors may be added while Run runs. It does not block.
func (p *Publisher) Collect(name string, collect func(ctx context.Context) (any, error)) error {
	return p.collectors.add(name, 0, collect)
}

// CollectEvery is [Publisher.Collect] for what takes long to find out. It is called at the first beat and then at the
// first one after each time that every has passed, 1s to 24h, and has as long to answer. Only the first beat waits for it;
// each one carries the newest value and says how old that is. An error, or a value that has become too old because
// a run doesn't return, takes the field out: old news must not pass for good news.
func (p *Publisher) CollectEvery(name string, every time.Duration, collect func(ctx context.Context) (any, error)) error {
	if every < time.Second || every > maxInterval {
		return fmt.Errorf("heartbeat: cadence of collector %q is %v: want 1s to %v", name, every, maxInterval)
	}
	return p.collectors.add(name, every, collect)
}

// Drain makes all following beats say that the instance takes no new work and is about to stop. It does not send
// one: Beat does. Run says goodbye in any case.
func (p *Publisher) Drain() { p.draining.Store(true) }

// Beat sends a beat now, beside those of Run, and waits until Redis has confirmed it, at most Config.Timeout. An
// error says that it can't be known to have arrived; it has been counted and logged like any other, and is not
// retried: the next beat will do. Beat works without Run too, but not after Run has said goodbye.
func (p *Publisher) Beat(ctx context.Context) error {
	return p.beat(ctx, false, 0)
}

var errGoodbye = errors.New("heartbeat: the publisher has said goodbye")

func (p *Publisher) phase() Phase {
	switch {
	case p.ended.Load():
		return PhaseStopped
	case p.draining.Load():
		return PhaseDraining
	case p.loops.stuck() != nil:
		return PhaseStuck
	}
	return PhaseRunning
}

// Stats returns what has happened so far. It does not wait for a beat that is under way.
func (p *Publisher) Stats() PublisherStats { return p.tally.snapshot() }

// beat sends one beat, the goodbye or another, that was started so much later than planned.
func (p *Publisher) beat(caller context.Context, goodbye bool, late time.Duration) error {
	limit := p.cfg.Timeout
	if goodbye {
		limit = p.cfg.DrainTimeout // no next beat is waiting
	}
	ctx, cancel := context.WithTimeoutCause(caller, limit, fmt.Errorf("heartbeat: no answer within %s", limit))
	defer cancel()
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-p.turn }()
	if p.ended.Load() && !goodbye {
		return errGoodbye
	}
	b := p.compose(ctx, goodbye, late)
	payload, err := b.encode(p.cfg.retainSeconds())
	if err == nil {
		err = p.courier.deliver(ctx, message{p.cfg.Channels, payload, true})
	}
	p.tally.settle(err, b)
	p.episodes.beat(caller, err)
	return err
}

// compose gathers what a beat says. A goodbye carries no fields of the service's own: what their collectors ask may
// be closed by then.
func (p *Publisher) compose(ctx context.Context, goodbye bool, late time.Duration) *Beat {
	b := &Beat{
		Service: p.service, Instance: p.cfg.Instance, Count: p.tally.begin(),
		Interval: p.cfg.Interval, TickLate: late, Run: p.run, host: p.host,
	}
	failed := map[string]error{}
	if !goodbye {
		b.fields, b.Ages, failed = p.collectors.collect(ctx)
	}
	if err := p.measure(ctx, b); err != nil {
		failed["memory_usage_mb"], failed["cpu_usage_percent"] = err, err
	}
	if !goodbye {
		p.episodes.collectors(ctx, failed)
	}
	b.CollectorErrors = make(map[string]string, len(failed))
	for name, err := range failed {
		b.CollectorErrors[name] = oneLine(err.Error(), maxReason)
	}
	// Last, so that no collector makes them old.
	if b.Phase = p.phase(); goodbye {
		b.Phase = PhaseStopped
	}
	if b.Phase == PhaseStuck {
		b.Stuck = p.loops.stuck()
	}
	b.Time, b.Uptime = time.Now(), time.Since(p.born)
	return b
}

func (p *Publisher) measure(ctx context.Context, b *Beat) (err error) {
	if p.cfg.NoUsage {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.CollectTimeout)
	defer cancel()
	b.Container = p.meter.container()
	b.MemoryMB, b.CPUPercent, err = p.meter.measure(ctx)
	return err
}

// hostName returns the name of a host where the wire format has room for it, and it tells one host from another.
func hostName(name string, err error) string {
	if err != nil || printable(name, maxNameBytes) != nil || strings.HasPrefix(name, "localhost") {
		return ""
	}
	return name
}
