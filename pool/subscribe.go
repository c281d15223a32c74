package pool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redissub"
)

const (
	// queuedMessages may wait for the reader.
	queuedMessages = 100
	// largestMessage is what a server by default sends to a subscriber at most (client-output-buffer-limit).
	largestMessage = 32 << 20
	// livenessPing and livenessTimeout bound the time in which a dead connection is noticed, together.
	livenessPing, livenessTimeout = 3 * time.Second, 5 * time.Second
)

// Subscription receives what is published, on a connection of its own that it makes again for as long as it lives: until the context of
// Subscribe ends, Close, or the end of the Clients. Safe for concurrent use.
//
// The server is asked for a sign of life every 3 seconds and has 5 to give it (or HealthCheckInterval and SocketTimeout, where they are shorter), so a dead
// connection is noticed and replaced. What was published meanwhile is lost, and told as a [Gap]: outside of gaps every message is delivered, in order.
//
// A slow reader is waited for. Up to 100 messages are kept here, more on the way and on the server; when that loses patience (by default
// at 32 MiB, or 8 MiB for a minute) it cuts the connection, which is a Gap like others. Nothing is dropped silently.
//
// In a Cluster the subscription is with one node, which hears what is published on all, as long as it is connected to them. Sharded
// channels (SSUBSCRIBE) are not offered here; those of Standard are go-redis's own, without any of these promises.
type Subscription struct {
	sub    *redissub.Subscription
	logger *slog.Logger
	names  []string

	life    context.Context // ends with the subscription
	end     context.CancelCauseFunc
	events  chan event    // closed when nothing more comes
	ended   chan struct{} // closed when nothing is received any more
	channel func() <-chan *redis.Message

	opened chan struct{} // closed when it got in force for the first time
	denied chan error    // the server refuses it; nobody may be listening
	lostAt time.Time     // of the episode that goes on, else zero; the receiving goroutine's own
	gaps   atomic.Uint64
}

// event has one of both.
type event struct {
	message *redis.Message
	gap     *Gap
}

// Gap is a time in which messages may have been lost.
type Gap struct {
	// Since and Until enclose the publications of which some may be missing, by the clock of this process.
	Since, Until time.Time
	// Why is what was wrong.
	Why error
}

// SubscriptionStats is what a Subscription has counted, and its state.
type SubscriptionStats struct {
	Node      string `json:"node,omitempty"`       // where it is subscribed; empty while it isn't
	Messages  uint64 `json:"messages"`             // received
	Gaps      uint64 `json:"gaps"`                 // told
	Queued    int    `json:"queued"`               // received, and not yet taken; 100 means that the reader is too slow
	LastError string `json:"last_error,omitempty"` // the newest reason to be, or to have been, without a connection
}

// Subscribe receives what is published on channels. It returns when the subscription is in force, so that nothing that is published after that is
// missed, or the reason why it can't be had: when the server refuses it, after 10 seconds, or when ctx ends. Close it, or end ctx, when it is no longer wanted.
func (c *Clients) Subscribe(ctx context.Context, channels ...string) (*Subscription, error) {
	return c.subscribe(ctx, channels, redissub.Config{Channels: channels})
}

// PSubscribe is [Clients.Subscribe] for patterns, as in "orders:*". A message that matches several comes several times.
func (c *Clients) PSubscribe(ctx context.Context, patterns ...string) (*Subscription, error) {
	return c.subscribe(ctx, patterns, redissub.Config{Patterns: patterns})
}

func (c *Clients) subscribe(ctx context.Context, names []string, cfg redissub.Config) (*Subscription, error) {
	if len(names) == 0 {
		return nil, errors.New("pool: subscribe to nothing: want one or more names")
	}
	s := &Subscription{
		logger: c.cfg.Logger, names: slices.Clone(names),
		events: make(chan event, queuedMessages), ended: make(chan struct{}),
		opened: make(chan struct{}), denied: make(chan error, 1),
	}
	s.channel = sync.OnceValue(s.messages)
	cfg.Message, cfg.Up, cfg.Down, cfg.MaxBytes = s.message, s.up, s.down, largestMessage
	cfg.Ping, cfg.Timeout = livenessPing, min(livenessTimeout, c.cfg.Profile.SocketTimeout)
	if every := c.cfg.Profile.HealthCheckInterval; every > 0 {
		cfg.Ping = min(livenessPing, every)
	}
	var err error
	// The other client seals the errors of its connections in a Cluster.
	if s.sub, err = redissub.New(c.blocking.control, cfg); err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	s.life, s.end = context.WithCancelCause(ctx)
	if !c.subscriptions.add(s) {
		s.end(redis.ErrClosed)
		return nil, redis.ErrClosed
	}
	go func() {
		s.run()
		c.subscriptions.remove(s)
	}()
	if err := s.awaitFirst(c.cfg.limits.greet); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("pool: subscribe to %q: %w", names, err)
	}
	return s, nil
}

func (s *Subscription) awaitFirst(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.opened:
		return nil
	case err := <-s.denied:
		return err
	case <-s.life.Done():
		return context.Cause(s.life)
	case <-timer.C:
		return fmt.Errorf("not in force after %v: %s", limit, s.sub.Stats().LastError)
	}
}

// Channel returns the messages, and leaves the gaps to Stats and the log: as go-redis does, so that code that has a PubSub keeps its loop. It
// doesn't block; the channel is the same at each call, and closed when the subscription ends: what nobody had taken by then may be gone.
func (s *Subscription) Channel() <-chan *redis.Message { return s.channel() }

// All iterates over messages and gaps in their order, and blocks until the subscription ends; one of the two is nil. A gap is told when it is over and before the
// messages after it, so that what depends on having seen everything can be read anew. A message is handed out once, to one iterator or to the Channel.
//
//	for msg, gap := range sub.All() {
//		if gap != nil {
//			reload(ctx)
//			continue
//		}
//		handle(msg.Channel, msg.Payload)
//	}
func (s *Subscription) All() iter.Seq2[*redis.Message, *Gap] {
	return func(yield func(*redis.Message, *Gap) bool) {
		for e := range s.events {
			if !yield(e.message, e.gap) {
				return
			}
		}
	}
}

// Stats does not block.
func (s *Subscription) Stats() SubscriptionStats {
	st := s.sub.Stats()
	return SubscriptionStats{
		Node: st.Node, Messages: st.Messages, LastError: st.LastError, Gaps: s.gaps.Load(), Queued: len(s.events),
	}
}

// connections counts those that were in force.
func (s *Subscription) connections() PubSubStats {
	st := s.sub.Stats()
	count := PubSubStats{Created: uint32(st.Subscriptions)}
	if st.Node != "" {
		count.Active = 1
	}
	return count
}

// Close ends the subscription, waits for that (a second or so at most) and returns nil. It may be called again, and by the reader.
func (s *Subscription) Close() error {
	s.end(redis.ErrClosed)
	<-s.ended
	return nil
}

func (s *Subscription) run() {
	if err := s.sub.Run(s.life); err != nil {
		s.logger.Warn("pool: subscription ended late", "names", s.names, "error", err)
	}
	s.end(nil)
	close(s.events)
	close(s.ended)
}

// messages starts what fills the Channel.
func (s *Subscription) messages() <-chan *redis.Message {
	out := make(chan *redis.Message)
	go func() {
		defer func() {
			<-s.ended
			close(out)
		}()
		for e := range s.events {
			if e.message == nil {
				continue
			}
			select {
			case out <- e.message:
			case <-s.life.Done():
				return
			}
		}
	}()
	return out
}

func (s *Subscription) push(e event) {
	if e.gap != nil {
		s.gaps.Add(1)
	}
	select {
	case s.events <- e:
	case <-s.life.Done():
	}
}

func (s *Subscription) message(m redissub.Message) {
	if m.Omitted > 0 {
		now := time.Now()
		s.push(event{gap: &Gap{Since: now, Until: now, Why: fmt.Errorf("pool: a message of %d bytes on %q: want %d at most", m.Omitted, m.Channel, largestMessage)}})
		return
	}
	s.push(event{message: &redis.Message{Channel: string(m.Channel), Pattern: string(m.Pattern), Payload: string(m.Payload)}})
}

func (s *Subscription) up(gap redissub.Gap) {
	if !s.lostAt.IsZero() {
		s.logger.Info("pool: subscribed again", "names", s.names, "after", time.Since(s.lostAt).Round(time.Millisecond))
		s.lostAt = time.Time{}
	}
	if gap.Since.IsZero() {
		close(s.opened)
		return
	}
	s.push(event{gap: &Gap{Since: gap.Since, Until: gap.Until, Why: gap.Why}})
}

func (s *Subscription) down(err error) {
	if refusal, ok := errors.AsType[redissub.ServerError](err); ok && refusal.Denied() {
		select {
		case s.denied <- err:
		default:
		}
	}
	if s.lostAt.IsZero() {
		s.lostAt = time.Now()
		s.logger.Warn("pool: subscription lost, trying again", "names", s.names, "error", err)
	}
}
