package redissub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/backoff"
)

const (
	// firstPause and longestPause are those between attempts to connect; up to a half of each is taken away at random.
	firstPause, longestPause = 100 * time.Millisecond, 3 * time.Second
	// closeGrace is for an attempt to connect that doesn't heed its context.
	closeGrace = time.Second
)

var errRanBefore = errors.New("redissub: Run was called before: want a Subscription for each")

// Subscription receives what is published, from a connection of its own that it makes again for as long as it runs.
type Subscription struct {
	rdb redis.UniversalClient
	cfg Config
	ran atomic.Bool

	dials  sync.WaitGroup // attempts to connect
	proven time.Time      // as pulse has it, beyond the end of its connection; Run's own

	mu    sync.Mutex              // guards what follows
	renew context.CancelCauseFunc // ends the connection that is; nil when there is none
	stats Stats
}

// Gap is a time without a subscription, or with one of which that can't be proved.
type Gap struct {
	// Since and Until enclose the publications of which some may not have been received: all others were. Since is zero for the first
	// subscription of all.
	Since, Until time.Time
	// Why is what ended the subscription before, or the newest failure to make it; nil when the first attempt was a success.
	Why error
}

// Stats is the state of a [Subscription] and what it has counted.
type Stats struct {
	// Node is the address that it is subscribed at; empty while it isn't.
	Node string `json:"node,omitempty"`
	// Subscriptions is how often it got in force; all but the first ended a gap.
	Subscriptions uint64 `json:"subscriptions"`
	// Messages were delivered whole, Omitted without their payload for their size.
	Messages uint64 `json:"messages"`
	Omitted  uint64 `json:"omitted,omitempty"`
	// LastError is the newest reason for being, or having been, without a subscription.
	LastError string `json:"last_error,omitempty"`
}

// New returns a Subscription that does nothing before Run, or all that is wrong with cfg. rdb is a *redis.Client (of Sentinel as well) or a
// *redis.ClusterClient; it stays the caller's and has to be open while Run does its work.
func New(rdb redis.UniversalClient, cfg Config) (*Subscription, error) {
	cfg, err := cfg.complete()
	switch rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
	default:
		err = errors.Join(err, fmt.Errorf("redissub: a %T can't be subscribed with: want *redis.Client or *redis.ClusterClient", rdb))
	}
	if err != nil {
		return nil, err
	}
	return &Subscription{rdb: rdb, cfg: cfg}, nil
}

// Run receives until ctx ends, and then returns nil at once; or, if an attempt to connect outlives it by more than a second, an error that
// says so. All functions of Config are called by the goroutine that calls Run. It can be called once.
func (s *Subscription) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errRanBefore
	}
	var why error
	avoid := ""
	for failures := 1; ; failures++ {
		node, proved, err := s.session(ctx, avoid, why)
		if ctx.Err() != nil {
			return s.awaitDials()
		}
		if proved {
			failures = 1
		}
		why, avoid = err, node
		s.cfg.Down(err)
		pause(ctx, backoff.Shorten(backoff.Exponential(failures, firstPause, longestPause), 0.5, rand.Float64()))
	}
}

// Renew gives the present connection up in favour of a new one, in a Cluster to another node: for who knows better than PING that messages
// don't arrive. It doesn't block, and does nothing while there is no connection. Safe for concurrent use.
func (s *Subscription) Renew(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renew != nil {
		s.renew(why)
	}
}

// Stats does not block. Safe for concurrent use.
func (s *Subscription) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// session is one connection, from the choice of the node to the loss. It tells which node that was, and whether the server has answered since.
func (s *Subscription) session(ctx context.Context, avoid string, why error) (node string, proved bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l, node, err := s.connect(ctx, avoid)
	if err != nil {
		return node, false, s.lost(err)
	}
	defer l.Close()
	defer context.AfterFunc(ctx, l.Sever)()
	if err := l.subscribe(s.cfg, s.deliver); err != nil {
		return node, false, s.lost(fmt.Errorf("redissub: %s: %w", l.addr(), err))
	}
	gap := Gap{Since: s.proven, Until: l.pulse.proven, Why: why}
	s.proven = gap.Until
	s.inForce(l.addr(), end)
	s.cfg.Up(gap)
	err = l.receive(s.deliver, func() { s.proven, proved = l.pulse.proven, true })
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return node, proved, s.lost(fmt.Errorf("redissub: subscription at %s: %w", l.addr(), err))
}

// connect returns when ctx ends even if what it waits for does not heed that, as the look-up of a Cluster's masters doesn't. One attempt is
// under way at a time.
func (s *Subscription) connect(ctx context.Context, avoid string) (*link, string, error) {
	var l *link
	var addr string
	var err error
	done := make(chan struct{})
	s.dials.Go(func() {
		defer close(done)
		var node *redis.Client
		if node, err = choose(ctx, s.rdb, avoid); err == nil {
			addr = node.Options().Addr
			l, err = dial(ctx, node, s.cfg)
		}
	})
	select {
	case <-done:
		return l, addr, err
	case <-ctx.Done():
		s.dials.Go(func() {
			if <-done; l != nil {
				l.Close()
			}
		})
		return nil, "", context.Cause(ctx)
	}
}

func (s *Subscription) awaitDials() error {
	idle := make(chan struct{})
	go func() {
		s.dials.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-time.After(closeGrace):
		return fmt.Errorf("redissub: still running %v after the end: an attempt to connect", closeGrace)
	}
}

func (s *Subscription) deliver(m Message) {
	s.mu.Lock()
	if m.Omitted > 0 {
		s.stats.Omitted++
	} else {
		s.stats.Messages++
	}
	s.mu.Unlock()
	s.cfg.Message(m)
}

func (s *Subscription) inForce(addr string, renew context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Node, s.renew = addr, renew
	s.stats.Subscriptions++
}

func (s *Subscription) lost(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Node, s.renew = "", nil
	s.stats.LastError = err.Error()
	return err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
